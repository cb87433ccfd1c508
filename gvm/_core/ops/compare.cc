#include "ops/broadcast.h"

namespace gvm {

bool infer_compare(Check& check) {
  std::vector<int64_t> dims;
  if (!check.require_not_partial() ||
      !check.require_dtype(0, {DType::i16, DType::i32, DType::i64}) ||
      !check.require_dtype(1, {DType::i16, DType::i32, DType::i64}) ||
      !broadcast_shapes(check, check.dims(0), check.dims(1), &dims)) {
    return false;
  }
  return set_boolean(check, dims);
}

}  // namespace gvm
