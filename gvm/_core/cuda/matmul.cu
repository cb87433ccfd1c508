#include "cuda/kernel.h"

namespace gvm {

// Attributes transpose_a, transpose_b; shapes as in ops/matmul.cc.
static Status run_matmul(const Call& call) {
  const Tensor &a = call.in[0], &b = call.in[1];
  const bool turned_a = call.attr(0) == 1, turned_b = call.attr(1) == 1;
  const int a_rank = a.type.rank, b_rank = b.type.rank;
  const int64_t m = a.dims[a_rank - (turned_a ? 1 : 2)], k = a.dims[a_rank - (turned_a ? 2 : 1)];
  const int64_t n = b.dims[b_rank - (turned_b ? 2 : 1)];
  const int64_t matrix_b = b_rank == 2 ? 0 : k * n;
  const int64_t row = turned_a ? 1 : k, term_a = turned_a ? m : 1;
  const int64_t column = turned_b ? k : 1, term_b = turned_b ? 1 : n;
  const int16_t *const from_a = a.as<int16_t>(), *const from_b = b.as<int16_t>();
  const Exact to = make_exact(call);
  call.cuda->each(
      call.out[0].elements, GVM_EACH(int64_t e) {
        const int64_t matrix = e / (m * n), rest = e - matrix * (m * n);
        const int16_t* x = from_a + matrix * m * k + rest / n * row;
        const int16_t* y = from_b + matrix * matrix_b + rest % n * column;
        int64_t sum = 0;
        for (int64_t i = 0; i < k; ++i, x += term_a, y += term_b) sum += int32_t{*x} * *y;
        to.put(e, sum);
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_matmul;
const Kernel cuda_kernel_matmul = {run_matmul, true, false, false};

}  // namespace gvm
