#include "ops/broadcast.h"

namespace gvm {

bool infer_mask(Check& check) {
  std::vector<int64_t> dims;
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::boolean}) ||
      !check.require_dtype(1, {DType::i16, DType::i32, DType::i64}) ||
      !broadcast_shapes(check, check.dims(0), check.dims(1), &dims)) {
    return false;
  }
  if (dims != check.dims(1)) {
    return check.fail(Status::bad_shape, "input 0 must broadcast to the shape of input 1");
  }
  check.out[0] = check.in[1];
  return true;
}

}  // namespace gvm
