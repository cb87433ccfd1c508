#include <algorithm>

#include "op.h"

namespace gvm {

// y[..., n] = x[..., n] + bias[n], both at the larger of their fraction bits.
bool infer_bias_add(Check& check) {
  if (!check.require_not_partial() ||
      !check.require_dtype(0, {DType::i64, DType::i32, DType::i16}) ||
      !check.require_dtype(1, {DType::i32, DType::i16}) || !check.require_rank(0, 1, kMaxRank) ||
      !check.require_rank(1, 1, 1) || !check.require_shared(1)) {
    return false;
  }
  const Type& x = check.in[0];
  const Type& bias = check.in[1];
  if (bias.dims[0] != x.dims[x.rank - 1]) {
    return check.fail(
        Status::bad_shape, "bias must have the length of the last axis, %lld, received %lld",
        static_cast<long long>(x.dims[x.rank - 1]), static_cast<long long>(bias.dims[0]));
  }
  const int f = std::max(x.fraction_bits, bias.fraction_bits);
  const uint64_t bound = bound_add(bound_shl(x.bound, f - x.fraction_bits),
                                   bound_shl(bias.bound, f - bias.fraction_bits));
  return check.set_exact(0, check.dims(0), f, bound);
}

}  // namespace gvm
