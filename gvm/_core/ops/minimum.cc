#include "ops/broadcast.h"

namespace gvm {

bool infer_minimum(Check& check) { return infer_choice(check, 0, 1); }

}  // namespace gvm
