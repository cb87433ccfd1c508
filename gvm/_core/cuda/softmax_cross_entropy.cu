#include "cuda/softmax.h"

namespace gvm {

static Status run_softmax_cross_entropy(const Call& call) {
  const Tensor& x = call.in[0];
  const int64_t n = x.dims[1];
  const int f = x.type.fraction_bits;
  const int32_t* const labels = call.in[1].as<int32_t>();
  watch_numbers(call, Rule::label, labels, call.in[1].elements, n);
  const Exponentials* const tables = call.cuda->exponentials(f);
  if (tables == nullptr) return Status::ok;  // collect() says why
  const int64_t limit = exponential_limit(f);
  const Cells z = cells(x);
  int64_t* const out = call.out[0].as<int64_t>();
  int64_t* const clamps = call.cuda->counter(call.clamps);
  call.cuda->each(
      x.dims[0], GVM_EACH(int64_t row) {
        int64_t most = z.get(row * n), sum = 0;
        for (int64_t i = row * n + 1; i < (row + 1) * n; ++i) {
          const int64_t v = z.get(i);
          most = v > most ? v : most;
        }
        for (int64_t i = row * n; i < (row + 1) * n; ++i) {
          sum += exponential(*tables, most - z.get(i), limit);
        }
        const int64_t distance = (most - z.get(row * n + number_within(labels[row], n)))
                                 << (kLossFractionBits - f);
        const int64_t loss = logarithm(sum) + distance;
        count_clamps(clamps, loss >= kLossLimit ? 1 : 0);
        out[row] = loss < kLossLimit ? loss : kLossLimit - 1;
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_softmax_cross_entropy;
const Kernel cuda_kernel_softmax_cross_entropy = {run_softmax_cross_entropy};

}  // namespace gvm
