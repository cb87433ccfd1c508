#include "cuda/copy.h"

namespace gvm {

static Status run_broadcast_to(const Call& call) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const auto from = broadcast_strides(x, out.type.rank);
  const auto to = dense_strides(out.dims, out.type.rank);
  Nest<2> nest;
  for (int i = 0; i < out.type.rank; ++i) {
    nest.push(out.dims[i], {from[static_cast<size_t>(i)], to[static_cast<size_t>(i)]});
  }
  copy_places(call, nest, cells(x), cells(out), 0, 0);
  return Status::ok;
}

extern const Kernel cuda_kernel_broadcast_to;
const Kernel cuda_kernel_broadcast_to = {run_broadcast_to};

}  // namespace gvm
