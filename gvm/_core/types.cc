#include "types.h"

#include <cstddef>

namespace gvm {

namespace {
constexpr int64_t kCountLimit = int64_t{1} << 62;
}

int64_t saturating_mul(int64_t a, int64_t b) {
  if (a == 0 || b == 0) return 0;
  return a > kCountLimit / b ? kCountLimit : a * b;
}

int64_t saturating_add(int64_t a, int64_t b) { return a > kCountLimit - b ? kCountLimit : a + b; }

bool add_within(int64_t* sum, int64_t q, uint64_t bound) {
  const int64_t most = static_cast<int64_t>(bound);
  if (*sum < -most || *sum > most || q < -most || q > most) return false;
  if (q >= 0 ? *sum > most - q : *sum < -most - q) return false;
  *sum += q;
  return true;
}

int64_t Count::at(int64_t n) const { return saturating_add(fixed, saturating_mul(per_example, n)); }

Count operator+(Count a, Count b) {
  return {saturating_add(a.fixed, b.fixed), saturating_add(a.per_example, b.per_example)};
}

Count operator*(Count a, int64_t factor) {
  return {saturating_mul(a.fixed, factor), saturating_mul(a.per_example, factor)};
}

int64_t Type::product(int from, int to) const {
  int64_t p = 1;
  for (int i = from; i < to; ++i) {
    if (dims[i] != kBatch) p = saturating_mul(p, dims[i]);
  }
  return p;
}

Count Type::elements() const {
  const int64_t p = elements_per_example();
  return batched() ? Count{0, p} : Count{p, 0};
}

bool Type::same_shape(const Type& other) const {
  if (rank != other.rank) return false;
  for (int i = 0; i < rank; ++i) {
    if (dims[i] != other.dims[i]) return false;
  }
  return true;
}

Type make_type(DType dtype, int fraction_bits, const std::vector<int64_t>& dims, bool partial) {
  Type t;
  t.dtype = dtype;
  t.fraction_bits = fraction_bits;
  t.partial = partial;
  t.rank = static_cast<int>(dims.size() > kMaxRank ? kMaxRank : dims.size());
  for (int i = 0; i < t.rank; ++i) t.dims[i] = dims[static_cast<size_t>(i)];
  t.bound = dtype_bound(dtype);
  return t;
}

}  // namespace gvm
