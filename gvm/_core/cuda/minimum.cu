#include "cuda/binary.h"

namespace gvm {

struct DeviceSmaller {
  GVM_DEVICE_CODE int64_t operator()(int64_t a, int64_t b) const { return b < a ? b : a; }
};

static Status run_minimum(const Call& call) { return run_binary(call, DeviceSmaller{}); }

extern const Kernel cuda_kernel_minimum;
const Kernel cuda_kernel_minimum = {run_minimum};

}  // namespace gvm
