#include "ops/logits.h"

namespace gvm {

// S * n < 2^31 * 2^42 and |e - label * S| <= 2^31: shifted by at most 47, both stay within 2^120.
bool infer_sigmoid_cross_entropy_grad(Check& check) {
  return require_logits_and_truths(check) &&
         check.set_rounded(0, check.in[0], check.attr(0), check.attr(1));
}

}  // namespace gvm
