#include "ops/logits.h"
#include "ops/squared_error.h"

namespace gvm {

bool infer_mean_squared_error(Check& check) {
  if (!require_difference(check)) return false;
  const Difference d = make_difference(check.in[0], check.in[1]);
  const int shift = std::max(0, kLossFractionBits - 2 * d.fraction_bits);
  return require_wide(check, 2 * d.bits + d.count_bits + shift) &&
         check.set_exact(0, {check.in[0].dims[0]}, kLossFractionBits,
                         static_cast<uint64_t>(kLossLimit));
}

}  // namespace gvm
