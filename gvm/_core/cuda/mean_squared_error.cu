#include "cuda/kernel.h"
#include "ops/logits.h"
#include "ops/squared_error.h"

namespace gvm {

static Status run_mean_squared_error(const Call& call) {
  const Difference d = make_difference(call.in[0].type, call.in[1].type);
  const int shift = kLossFractionBits - 2 * d.fraction_bits;
  const int up = std::max(shift, 0);
  const Int128 divisor = shl(from_int64(d.elements), std::max(-shift, 0));
  const Cells y = cells(call.in[0]), t = cells(call.in[1]);
  int64_t* const out = call.out[0].as<int64_t>();
  int64_t* const clamps = call.cuda->counter(call.clamps);
  call.cuda->each(
      call.in[0].dims[0], GVM_EACH(int64_t row) {
        Int128 sum = {0, 0};
        for (int64_t i = row * d.elements; i < (row + 1) * d.elements; ++i) {
          const int64_t difference =
              shifted_left(y.get(i), d.y_shift) - shifted_left(t.get(i), d.t_shift);
          sum = add(sum, mul(difference, difference));
        }
        int64_t beyond = 0;
        const int64_t loss = quotient_nearest(shl(sum, up), divisor, 64, &beyond);
        count_clamps(clamps, loss >= kLossLimit ? 1 : 0);
        out[row] = loss < kLossLimit ? loss : kLossLimit - 1;
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_mean_squared_error;
const Kernel cuda_kernel_mean_squared_error = {run_mean_squared_error};

}  // namespace gvm
