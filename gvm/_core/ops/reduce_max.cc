#include "ops/broadcast.h"

namespace gvm {

namespace {
enum { kAxes, kKeepdims };
}

bool infer_reduce_max(Check& check) {
  const Type& x = check.in[0];
  const std::vector<int64_t>& axes = check.list(kAxes);
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16, DType::i32}) ||
      !require_axes_without_batch(check, axes)) {
    return false;
  }
  check.out[0] =
      make_type(x.dtype, x.fraction_bits, reduced_dims(check, axes, check.attr(kKeepdims) != 0));
  check.out[0].bound = x.bound;
  return true;
}

}  // namespace gvm
