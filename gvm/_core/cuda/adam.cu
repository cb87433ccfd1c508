#include "cuda/optimizer.h"

namespace gvm {

enum {
  kSteps,
  kRates,
  kExponent,
  kDecay,
  kDecayExponent,
  kBeta1,
  kBeta2,
  kEpsilon,
  kEpsilonExponent,
  kRounding,
  kStateRounding
};

static Status run_adam(const Call& call) {
  const int64_t rate = rate_at(call.list(kSteps), call.list(kRates), call.step);
  const int64_t beta1 = call.attr(kBeta1), beta2 = call.attr(kBeta2);
  const int64_t corrected = corrected_rate(rate, beta1, beta2, call.step);
  const bool decays = call.attr(kDecay) != 0;
  const int64_t decay =
      decays ? decay_at(rate, call.attr(kDecay), call.attr(kExponent) + call.attr(kDecayExponent))
             : 0;
  const int e = static_cast<int>(call.in[0].type.fraction_bits - call.attr(kExponent));
  const int up = std::max(0, e), down = std::max(0, -e);
  const int64_t epsilon = call.attr(kEpsilon);
  const Rounding state_rounding = static_cast<Rounding>(call.attr(kStateRounding));
  const Site site = update_site(call, 0, static_cast<Rounding>(call.attr(kRounding)), call.site);
  const Site of_m = update_site(call, 1, state_rounding, call.site + 1);
  const Site of_s = update_site(call, 2, state_rounding, call.site + 2);
  const DeviceMean mean_of = make_mean(call, call.in[3], call.in[1].type);
  const Cells w = cells(call.in[0]), m = cells(call.in[1]), s = cells(call.in[2]);
  const Cells w_out = cells(call.out[0]), m_out = cells(call.out[1]), s_out = cells(call.out[2]);
  const int64_t* const gradient = call.in[3].as<int64_t>();
  return run_device_update(
      call, 3, 4, GVM_EACH(int64_t i, int64_t count) {
        const int64_t mean = mean_of(gradient[i], count);
        const int64_t moment = of_m.convert(
            m.get(i) * (beta1 << kFiner) + mean * (kBetaOne - beta1), kFiner + kBetaBits, i);
        const int64_t root = of_s.convert(root_of_squares(s.get(i), mean, beta2), kRootBits, i);
        m_out.set(i, moment);
        s_out.set(i, root);
        const int64_t of_w = w.get(i);
        Int128 divisor = shl(from_int64(root + epsilon), down);
        Int128 moved = shl(mul(corrected, moment), up);
        if (decays) {
          moved = add(shl(moved, 32), mul(divisor, decay * of_w));
          divisor = shl(divisor, 32);
        }
        w_out.set(i, updated(site, of_w, moved, divisor, i));
      });
}

extern const Kernel cuda_kernel_adam;
const Kernel cuda_kernel_adam = {run_adam};

}  // namespace gvm
