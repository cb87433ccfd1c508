#include "op.h"

namespace gvm {

bool infer_convert(Check& check) {
  if (!check.require_not_partial() ||
      !check.require_dtype(0, {DType::i64, DType::i32, DType::i16})) {
    return false;
  }
  return check.set_rounded(0, check.in[0], check.attr(0), check.attr(1));
}

}  // namespace gvm
