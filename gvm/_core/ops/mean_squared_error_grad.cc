#include "ops/squared_error.h"

namespace gvm {

bool infer_mean_squared_error_grad(Check& check) {
  if (!require_difference(check)) return false;
  const Difference d = make_difference(check.in[0], check.in[1]);
  const int shift = std::max(0, static_cast<int>(check.attr(1)) - d.fraction_bits);
  return require_wide(check, d.bits + 1 + shift) &&
         check.set_rounded(0, check.in[0], check.attr(0), check.attr(1));
}

}  // namespace gvm
