#include "ops/broadcast.h"

namespace gvm {

bool infer_mul(Check& check) {
  const Type &a = check.in[0], &b = check.in[1];
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16, DType::i32}) ||
      !check.require_dtype(1, {DType::i16, DType::i32})) {
    return false;
  }
  std::vector<int64_t> dims;
  if (!broadcast_shapes(check, check.dims(0), check.dims(1), &dims)) return false;
  if (!check.set_exact(0, dims, a.fraction_bits + b.fraction_bits, bound_mul(a.bound, b.bound))) {
    return false;
  }
  check.multiply_adds = check.out[0].elements();
  return true;
}

}  // namespace gvm
