#include "ops/broadcast.h"

namespace gvm {

bool infer_relu_grad(Check& check) { return infer_masked(check); }

}  // namespace gvm
