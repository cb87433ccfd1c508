#include "op.h"

namespace gvm {

bool infer_dropout(Check& check) {
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16, DType::i32})) {
    return false;
  }
  check.out[0] = check.in[0];
  return true;
}

}  // namespace gvm
