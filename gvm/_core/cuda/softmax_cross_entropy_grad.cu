#include "cuda/softmax.h"

namespace gvm {

static Status run_softmax_cross_entropy_grad(const Call& call) {
  const int32_t* const labels = call.in[1].as<int32_t>();
  watch_numbers(call, Rule::label, labels, call.in[1].elements, call.in[0].dims[1]);
  return run_softmax_rows(call, labels);
}

extern const Kernel cuda_kernel_softmax_cross_entropy_grad;
const Kernel cuda_kernel_softmax_cross_entropy_grad = {run_softmax_cross_entropy_grad};

}  // namespace gvm
