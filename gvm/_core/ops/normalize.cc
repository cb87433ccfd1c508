#include "ops/normalization.h"

namespace gvm {

// Nothing else is to be proved: |c| <= sqrt(n * D), so that |c| * 2^(F' + t) <= sqrt(n) * 2^F' * r
// stays within 2^90, and r * 2^-(F' + t) within 2^95.
bool infer_normalize(Check& check) {
  int64_t n = 0;
  if (!require_groups(check, &n) || !check.set_rounded(0, check.in[0], check.attr(kNormalizedDtype),
                                                       check.attr(kNormalizedFractionBits))) {
    return false;
  }
  check.multiply_adds = check.out[0].elements() * 2;
  return true;
}

}  // namespace gvm
