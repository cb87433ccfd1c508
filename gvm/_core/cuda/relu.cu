#include "cuda/kernel.h"

namespace gvm {

static Status run_relu(const Call& call) {
  const Cells x = cells(call.in[0]), out = cells(call.out[0]);
  call.cuda->each(
      call.out[0].elements, GVM_EACH(int64_t i) {
        const int64_t v = x.get(i);
        out.set(i, v > 0 ? v : 0);
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_relu;
const Kernel cuda_kernel_relu = {run_relu, false, true, false};

}  // namespace gvm
