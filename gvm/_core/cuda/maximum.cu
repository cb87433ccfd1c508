#include "cuda/binary.h"

namespace gvm {

struct DeviceLarger {
  GVM_DEVICE_CODE int64_t operator()(int64_t a, int64_t b) const { return b > a ? b : a; }
};

static Status run_maximum(const Call& call) { return run_binary(call, DeviceLarger{}); }

extern const Kernel cuda_kernel_maximum;
const Kernel cuda_kernel_maximum = {run_maximum};

}  // namespace gvm
