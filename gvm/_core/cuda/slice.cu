#include "cuda/copy.h"

namespace gvm {

enum { kBegin, kEnd, kStrides };

static Status run_slice(const Call& call) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const auto from = dense_strides(x.dims, x.type.rank);
  const auto to = dense_strides(out.dims, out.type.rank);
  Nest<2> nest;
  int64_t first = 0;
  for (int i = 0; i < x.type.rank; ++i) {
    const size_t at = static_cast<size_t>(i);
    first += call.list(kBegin)[at] * from[at];
    // A step beyond the axis is never taken.
    const int64_t step = std::min(call.list(kStrides)[at], x.dims[i]);
    nest.push(out.dims[i], {from[at] * step, to[at]});
  }
  copy_places(call, nest, cells(x), cells(out), first, 0);
  return Status::ok;
}

extern const Kernel cuda_kernel_slice;
const Kernel cuda_kernel_slice = {run_slice};

}  // namespace gvm
