#include "ops/logits.h"

namespace gvm {

bool infer_softmax_cross_entropy_grad(Check& check) {
  return require_logits_and_labels(check, true) &&
         check.set_rounded(0, check.in[0], check.attr(0), check.attr(1));
}

}  // namespace gvm
