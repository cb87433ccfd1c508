#include "cuda/binary.h"

namespace gvm {

static Status run_add(const Call& call) { return run_device_sum(call, false); }

extern const Kernel cuda_kernel_add;
const Kernel cuda_kernel_add = {run_add, false, true, false, true};

}  // namespace gvm
