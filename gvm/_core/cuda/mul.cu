#include "cuda/binary.h"

namespace gvm {

struct DeviceProduct {
  GVM_DEVICE_CODE int64_t operator()(int64_t a, int64_t b) const { return a * b; }
};

static Status run_mul(const Call& call) { return run_binary(call, DeviceProduct{}); }

extern const Kernel cuda_kernel_mul;
const Kernel cuda_kernel_mul = {run_mul, false, false, false, true};

}  // namespace gvm
