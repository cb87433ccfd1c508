#include "cuda/softmax.h"

namespace gvm {

static Status run_sigmoid_cross_entropy(const Call& call) {
  const Tensor& x = call.in[0];
  const int64_t n = x.elements / x.dims[0];
  const int f = x.type.fraction_bits;
  const int32_t* const labels = call.in[1].as<int32_t>();
  watch_numbers(call, Rule::label, labels, call.in[1].elements, 2);
  const Exponentials* const tables = call.cuda->exponentials(f);
  if (tables == nullptr) return Status::ok;  // collect() says why
  const int64_t limit = exponential_limit(f);
  const Cells z = cells(x);
  int64_t *const out = call.out[0].as<int64_t>(), *const right = call.out[1].as<int64_t>();
  int64_t* const clamps = call.cuda->counter(call.clamps);
  call.cuda->each(
      x.dims[0], GVM_EACH(int64_t row) {
        Int128 sum = {0, 0};
        bool all = true;
        for (int64_t i = row * n; i < (row + 1) * n; ++i) {
          const int64_t v = z.get(i), side = labels[i] != 0 ? -v : v;
          const int64_t total =
              (int64_t{1} << 30) + exponential(*tables, side < 0 ? -side : side, limit);
          const int64_t distance = (side > 0 ? side : 0) << (kLossFractionBits - f);
          sum = add(sum, from_int64(logarithm(total) + distance));
          all = all && (v > 0) == (labels[i] != 0);
        }
        int64_t beyond = 0;
        const int64_t loss = quotient_nearest(sum, from_int64(n), 64, &beyond);
        count_clamps(clamps, loss >= kLossLimit ? 1 : 0);
        out[row] = loss < kLossLimit ? loss : kLossLimit - 1;
        right[row] = all ? 1 : 0;
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_sigmoid_cross_entropy;
const Kernel cuda_kernel_sigmoid_cross_entropy = {run_sigmoid_cross_entropy};

}  // namespace gvm
