#include "cuda/copy.h"

namespace gvm {

enum { kAxis };

// Each operand is rows of its part of the result's rows.
static Status run_concat(const Call& call) {
  const Tensor& out = call.out[0];
  const int axis = static_cast<int>(call.attr(kAxis));
  int64_t outside = 1, inside = 1, first = 0;
  for (int i = 0; i < out.type.rank; ++i) {
    if (i < axis) outside *= out.dims[i];
    if (i > axis) inside *= out.dims[i];
  }
  for (int i = 0; i < call.inputs; ++i) {
    const Tensor& x = call.in[i];
    Nest<2> nest;
    nest.push(outside, {x.dims[axis] * inside, out.dims[axis] * inside});
    nest.push(x.dims[axis] * inside, {1, 1});
    copy_places(call, nest, cells(x), cells(out), 0, first);
    first += x.dims[axis] * inside;
  }
  return Status::ok;
}

extern const Kernel cuda_kernel_concat;
const Kernel cuda_kernel_concat = {run_concat};

}  // namespace gvm
