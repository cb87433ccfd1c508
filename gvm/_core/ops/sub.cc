#include "ops/broadcast.h"

namespace gvm {

bool infer_sub(Check& check) { return infer_sum(check); }

}  // namespace gvm
