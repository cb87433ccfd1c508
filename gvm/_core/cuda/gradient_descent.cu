#include "cuda/optimizer.h"

namespace gvm {

enum {
  kSteps,
  kRates,
  kExponent,
  kDecay,
  kDecayExponent,
  kMomentum,
  kNesterov,
  kRounding,
  kStateRounding
};
constexpr int kMomentumBits = 15;

static Status run_gradient_descent(const Call& call) {
  const int more = call.in[1].type.fraction_bits - call.in[0].type.fraction_bits;
  const int64_t t =
      call.attr(kExponent) + call.in[2].type.fraction_bits - call.in[1].type.fraction_bits;
  const bool decays = call.attr(kDecay) != 0;
  const int s = static_cast<int>(std::max<int64_t>(decays ? 32 : kMomentumBits, t));
  const int up = static_cast<int>(s - t);
  const int64_t rate = rate_at(call.list(kSteps), call.list(kRates), call.step);
  const int64_t decay =
      decays ? decay_at(rate, call.attr(kDecay), call.attr(kExponent) + call.attr(kDecayExponent))
             : 0;
  const int64_t momentum = call.attr(kMomentum);
  const bool nesterov = call.attr(kNesterov) != 0;
  const Site site = update_site(call, 0, static_cast<Rounding>(call.attr(kRounding)), call.site);
  const Site state =
      update_site(call, 1, static_cast<Rounding>(call.attr(kStateRounding)), call.site + 1);
  const Cells w = cells(call.in[0]), v = cells(call.in[1]);
  const Cells w_out = cells(call.out[0]), v_out = cells(call.out[1]);
  const int64_t* const gradient = call.in[2].as<int64_t>();
  return run_device_update(
      call, 2, 3, GVM_EACH(int64_t i, int64_t count) {
        const Int128 divisor = shl(from_int64(count), s);
        const Int128 keep = shl(mul(momentum, count), s - kMomentumBits);
        const int64_t of_w = w.get(i);
        Int128 pull = shl(mul(gradient[i], rate), up);
        if (decays) pull = add(pull, mul(shl(mul(decay, count), s - 32 + more), of_w));
        const int64_t velocity = state.quotient(sub(mul(keep, v.get(i)), pull), divisor, i);
        v_out.set(i, velocity);
        if (!nesterov) {
          w_out.set(i, site.convert(shifted_left(of_w, more) + velocity, more, i));
          return;
        }
        const Int128 ahead = shl(divisor, more);
        const Int128 moved = sub(mul(keep, velocity), pull);
        w_out.set(i, site.quotient(add(mul(ahead, of_w), moved), ahead, i));
      });
}

extern const Kernel cuda_kernel_gradient_descent;
const Kernel cuda_kernel_gradient_descent = {run_gradient_descent};

}  // namespace gvm
