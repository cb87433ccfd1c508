#include "op.h"

namespace gvm {

// y[..., m, n] = sum over k of a[..., m, k] * b[..., k, n]. Attributes: transpose_a, transpose_b.
bool infer_matmul(Check& check) {
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16}) ||
      !check.require_dtype(1, {DType::i16}) || !check.require_rank(0, 2, kMaxRank) ||
      !check.require_rank(1, 2, kMaxRank)) {
    return false;
  }
  const Type& a = check.in[0];
  const Type& b = check.in[1];
  if (b.rank != 2 && b.rank != a.rank) {
    return check.fail(Status::bad_shape, "b must have rank 2 or that of a, %d, received %d", a.rank,
                      b.rank);
  }
  const int last_a = check.attr(0) == 1 ? 2 : 1, last_b = check.attr(1) == 1 ? 2 : 1;
  const int64_t m = a.dims[a.rank - 3 + last_a], k = a.dims[a.rank - last_a];
  const int64_t k_b = b.dims[b.rank - 3 + last_b], n = b.dims[b.rank - last_b];
  if (k == kBatch || k_b == kBatch) {
    return check.fail(Status::bad_batch, "the batch axis must not be the sum K of input %d",
                      k == kBatch ? 0 : 1);
  }
  if (n == kBatch) return check.fail(Status::bad_batch, "the batch axis must not be N of input 1");
  if (k != k_b) {
    return check.fail(Status::bad_shape, "both K must agree, received %lld and %lld",
                      static_cast<long long>(k), static_cast<long long>(k_b));
  }
  std::vector<int64_t> dims(a.dims, a.dims + a.rank - 2);
  for (int i = 0; b.rank > 2 && i < a.rank - 2; ++i) {
    if (a.dims[i] == b.dims[i]) continue;
    return check.fail(Status::bad_shape, "leading dimensions must agree, received %lld and %lld",
                      static_cast<long long>(a.dims[i]), static_cast<long long>(b.dims[i]));
  }
  dims.push_back(m);
  dims.push_back(n);
  const uint64_t bound = bound_mul(static_cast<uint64_t>(k), bound_mul(a.bound, b.bound));
  if (!check.set_exact(0, dims, a.fraction_bits + b.fraction_bits, bound)) return false;
  check.multiply_adds = check.out[0].elements() * k;
  return true;
}

}  // namespace gvm
