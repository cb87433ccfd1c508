#include "ops/broadcast.h"

namespace gvm {

namespace {
enum { kAxes };
}

bool infer_reduce_max_grad(Check& check) {
  const Type& delta = check.in[1];
  const std::vector<int64_t>& axes = check.list(kAxes);
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16, DType::i32}) ||
      !check.require_dtype(1, {DType::i16, DType::i32, DType::i64}) ||
      !require_axes_without_batch(check, axes)) {
    return false;
  }
  if (check.dims(1) != reduced_dims(check, axes, true)) {
    return check.fail(Status::bad_shape,
                      "delta must have the shape of x with the reduced axes at 1");
  }
  check.out[0] = make_type(delta.dtype, delta.fraction_bits, check.dims(0));
  check.out[0].bound = delta.bound;
  return true;
}

}  // namespace gvm
