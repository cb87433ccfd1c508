#include "ops/logits.h"

namespace gvm {

bool infer_softmax(Check& check) {
  return require_logits(check, 1, kMaxRank, true) &&
         check.set_rounded(0, check.in[0], check.attr(0), check.attr(1));
}

}  // namespace gvm
