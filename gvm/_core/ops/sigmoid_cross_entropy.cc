#include "ops/logits.h"

namespace gvm {

bool infer_sigmoid_cross_entropy(Check& check) {
  if (!require_logits_and_truths(check)) return false;
  const std::vector<int64_t> examples = {check.in[0].dims[0]};
  return check.set_exact(0, examples, kLossFractionBits, static_cast<uint64_t>(kLossLimit)) &&
         check.set_exact(1, examples, 0, 1);
}

}  // namespace gvm
