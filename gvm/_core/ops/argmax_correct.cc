#include "ops/logits.h"

namespace gvm {

bool infer_argmax_correct(Check& check) {
  return require_logits_and_labels(check, false) && check.set_exact(0, check.dims(1), 0, 1);
}

}  // namespace gvm
