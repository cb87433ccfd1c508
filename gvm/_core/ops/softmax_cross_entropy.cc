#include "ops/logits.h"

namespace gvm {

bool infer_softmax_cross_entropy(Check& check) {
  return require_logits_and_labels(check, true) &&
         check.set_exact(0, check.dims(1), kLossFractionBits, static_cast<uint64_t>(kLossLimit));
}

}  // namespace gvm
