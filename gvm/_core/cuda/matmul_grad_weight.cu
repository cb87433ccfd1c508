#include "cuda/kernel.h"

namespace gvm {

// a [T..., K], d [T..., N] to [K, N]: the terms are the examples and all other leading axes.
static Status run_matmul_grad_weight(const Call& call) {
  const Tensor &a = call.in[0], &d = call.in[1];
  const int last = a.type.rank - 1;
  const int64_t m = a.dims[last], n = d.dims[last], terms = a.elements / m;
  const int16_t *const from_a = a.as<int16_t>(), *const from_d = d.as<int16_t>();
  const Exact to = make_exact(call);
  call.cuda->each(
      m * n, GVM_EACH(int64_t e) {
        const int16_t *x = from_a + e / n, *y = from_d + e % n;
        int64_t sum = 0;
        for (int64_t i = 0; i < terms; ++i, x += m, y += n) sum += int32_t{*x} * *y;
        to.put(e, sum);
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_matmul_grad_weight;
const Kernel cuda_kernel_matmul_grad_weight = {run_matmul_grad_weight, true, false, false};

}  // namespace gvm
