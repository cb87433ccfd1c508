#include "cuda/masked.h"

namespace gvm {

// Not at a limit of the type with a step, against delta, that would push it further out.
struct DeviceNotPushedOut {
  int bits;
  GVM_DEVICE_CODE bool operator()(int64_t q, int64_t delta) const {
    return gradient_through_convert(delta, q, bits) == delta;
  }
};

static Status run_convert_grad(const Call& call) {
  return run_device_masked(call, DeviceNotPushedOut{dtype_bits(call.in[0].type.dtype)});
}

extern const Kernel cuda_kernel_convert_grad;
const Kernel cuda_kernel_convert_grad = {run_convert_grad, false, true, false};

}  // namespace gvm
