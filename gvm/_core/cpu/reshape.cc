#include "cpu/kernel.h"

namespace gvm {

// The same bytes under another shape: nothing runs.
extern const Kernel kernel_reshape = {nullptr, false, false, true};

}  // namespace gvm
