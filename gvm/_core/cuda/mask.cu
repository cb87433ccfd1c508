#include "cuda/binary.h"

namespace gvm {

enum { kValue };

// x where the condition has the value, else 0.
struct DeviceMask {
  bool value;
  GVM_DEVICE_CODE int64_t operator()(int64_t condition, int64_t x) const {
    return (condition != 0) == value ? x : 0;
  }
};

static Status run_mask(const Call& call) {
  return run_binary(call, DeviceMask{call.attr(kValue) != 0});
}

extern const Kernel cuda_kernel_mask;
const Kernel cuda_kernel_mask = {run_mask};

}  // namespace gvm
