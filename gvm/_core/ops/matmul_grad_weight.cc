#include "op.h"

namespace gvm {

// y[k, n] = sum over all leading axes of a[..., k] * d[..., n].
bool infer_matmul_grad_weight(Check& check) {
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16}) ||
      !check.require_dtype(1, {DType::i16}) || !check.require_rank(0, 2, kMaxRank)) {
    return false;
  }
  const Type& a = check.in[0];
  const Type& d = check.in[1];
  if (!check.require_rank(1, a.rank, a.rank)) return false;
  const int last = a.rank - 1;
  for (int i = 0; i < last; ++i) {
    if (a.dims[i] == d.dims[i]) continue;
    return check.fail(Status::bad_shape, "leading dimensions must agree, received %lld and %lld",
                      static_cast<long long>(a.dims[i]), static_cast<long long>(d.dims[i]));
  }
  if (a.dims[last] == kBatch || d.dims[last] == kBatch) {
    return check.fail(Status::bad_batch, "the batch axis must not be the last of input %d",
                      a.dims[last] == kBatch ? 0 : 1);
  }
  const bool batched = a.batched();
  const Count terms = batched ? Count{0, a.product(0, last)} : Count{a.product(0, last), 0};
  const uint64_t most = static_cast<uint64_t>(terms.at(check.max_batch));
  const uint64_t bound = bound_mul(most, bound_mul(a.bound, d.bound));
  if (!check.set_exact(0, {a.dims[last], d.dims[last]}, a.fraction_bits + d.fraction_bits, bound,
                       batched)) {
    return false;
  }
  check.multiply_adds = terms * check.out[0].elements_per_example();
  return true;
}

}  // namespace gvm
