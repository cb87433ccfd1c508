#include "cuda/optimizer.h"

namespace gvm {

enum { kSteps, kRates, kExponent, kRho, kEpsilon, kEpsilonExponent, kRounding, kStateRounding };

static Status run_rmsprop(const Call& call) {
  const int64_t rate = rate_at(call.list(kSteps), call.list(kRates), call.step);
  const int e = static_cast<int>(call.in[0].type.fraction_bits - call.attr(kExponent)) - kFiner;
  const int up = std::max(0, e), down = std::max(0, -e);
  const int64_t epsilon = call.attr(kEpsilon), rho = call.attr(kRho);
  const Site site = update_site(call, 0, static_cast<Rounding>(call.attr(kRounding)), call.site);
  const Site state =
      update_site(call, 1, static_cast<Rounding>(call.attr(kStateRounding)), call.site + 1);
  const DeviceMean mean_of = make_mean(call, call.in[2], call.in[1].type);
  const Cells w = cells(call.in[0]), s = cells(call.in[1]);
  const Cells w_out = cells(call.out[0]), s_out = cells(call.out[1]);
  const int64_t* const gradient = call.in[2].as<int64_t>();
  return run_device_update(
      call, 2, 3, GVM_EACH(int64_t i, int64_t count) {
        const int64_t mean = mean_of(gradient[i], count);
        const int64_t root = state.convert(root_of_squares(s.get(i), mean, rho), kRootBits, i);
        s_out.set(i, root);
        w_out.set(i, updated(site, w.get(i), shl(mul(rate, mean), up),
                             shl(from_int64(root + epsilon), down), i));
      });
}

extern const Kernel cuda_kernel_rmsprop;
const Kernel cuda_kernel_rmsprop = {run_rmsprop};

}  // namespace gvm
