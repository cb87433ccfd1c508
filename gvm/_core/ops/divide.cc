#include "ops/broadcast.h"

namespace gvm {

namespace {
enum { kDivisor, kDtype, kFractionBits };
}

bool infer_divide(Check& check) {
  const Type& x = check.in[0];
  if (!check.require_not_partial() ||
      !check.require_dtype(0, {DType::i64, DType::i32, DType::i16})) {
    return false;
  }
  const int64_t fraction_bits = check.attr(kFractionBits);
  return require_quotient(check, x.bound, static_cast<uint64_t>(check.attr(kDivisor)),
                          static_cast<int>(fraction_bits) - x.fraction_bits) &&
         check.set_rounded(0, x, check.attr(kDtype), fraction_bits);
}

}  // namespace gvm
