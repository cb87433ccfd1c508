#include "op.h"

namespace gvm {

bool infer_unary(Check& check) {
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16})) return false;
  const int64_t dtype = check.attr(1), rounding = check.attr(3);
  if (dtype != static_cast<int64_t>(DType::i16) && rounding != 0) {
    return check.fail(Status::bad_attribute, "rounding of an i32 result must be 0, received %lld",
                      static_cast<long long>(rounding));
  }
  return check.set_rounded(0, check.in[0], dtype, check.attr(2));
}

}  // namespace gvm
