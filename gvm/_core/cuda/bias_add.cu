#include "cuda/kernel.h"

namespace gvm {

static Status run_bias_add(const Call& call) {
  const Tensor &x = call.in[0], &bias = call.in[1], &out = call.out[0];
  const int x_shift = out.type.fraction_bits - x.type.fraction_bits;
  const int bias_shift = out.type.fraction_bits - bias.type.fraction_bits;
  const int64_t n = bias.elements;
  const Cells from = cells(x), more = cells(bias), to = cells(out);
  call.cuda->each(
      out.elements, GVM_EACH(int64_t i) {
        to.set(i, static_cast<int64_t>(
                      static_cast<uint64_t>(shifted_left(from.get(i), x_shift)) +
                      static_cast<uint64_t>(shifted_left(more.get(i % n), bias_shift))));
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_bias_add;
const Kernel cuda_kernel_bias_add = {run_bias_add, false, true, false};

}  // namespace gvm
