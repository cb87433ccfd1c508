#include "cuda/masked.h"

namespace gvm {

struct DevicePositive {
  GVM_DEVICE_CODE bool operator()(int64_t y, int64_t) const { return y > 0; }
};

static Status run_relu_grad(const Call& call) { return run_device_masked(call, DevicePositive{}); }

extern const Kernel cuda_kernel_relu_grad;
const Kernel cuda_kernel_relu_grad = {run_relu_grad, false, true, false};

}  // namespace gvm
