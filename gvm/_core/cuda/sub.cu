#include "cuda/binary.h"

namespace gvm {

static Status run_sub(const Call& call) { return run_device_sum(call, true); }

extern const Kernel cuda_kernel_sub;
const Kernel cuda_kernel_sub = {run_sub, false, true, false, true};

}  // namespace gvm
