#include "cuda/kernel.h"

namespace gvm {

static Status run_select(const Call& call) {
  const Tensor& out = call.out[0];
  Nest<3> nest;
  const auto condition = broadcast_strides(call.in[0], out.type.rank);
  const auto first = broadcast_strides(call.in[1], out.type.rank);
  const auto second = broadcast_strides(call.in[2], out.type.rank);
  for (int i = 0; i < out.type.rank; ++i) {
    const size_t at = static_cast<size_t>(i);
    nest.push(out.dims[i], {condition[at], first[at], second[at]});
  }
  const Cells truth = cells(call.in[0]), a = cells(call.in[1]), b = cells(call.in[2]);
  const Cells to = cells(out);
  call.cuda->each(
      out.elements, GVM_EACH(int64_t i) {
        const bool chosen = truth.get(place(nest, 0, i)) != 0;
        to.set(i, chosen ? a.get(place(nest, 1, i)) : b.get(place(nest, 2, i)));
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_select;
const Kernel cuda_kernel_select = {run_select};

}  // namespace gvm
