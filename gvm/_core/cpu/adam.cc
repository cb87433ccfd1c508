#include "cpu/moments.h"

namespace gvm {

namespace {

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

template <typename W, typename M>
void step(const Call& call, int64_t count) {
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
  const Rounding rounding = static_cast<Rounding>(call.attr(kRounding));
  const Rounding state_rounding = static_cast<Rounding>(call.attr(kStateRounding));
  const ConvertSite of_m = state_site(call, state_rounding, call.site + 1, kFiner + kBetaBits);
  const ConvertSite of_s = state_site(call, state_rounding, call.site + 2, kRootBits);
  const W* w = call.in[0].as<W>();
  const M* m = call.in[1].as<M>();
  const M* s = call.in[2].as<M>();
  W* w_out = call.out[0].as<W>();
  M* m_out = call.out[1].as<M>();
  M* s_out = call.out[2].as<M>();
  const int bits = 8 * static_cast<int>(sizeof(W));
  const MeanGradient gradient(call, call.in[3], call.in[1].type, count);
  const ConvertRun to_moment = call.cpu->convert.run[2][sizeof(M) == 2 ? 0 : 1];
  for_update_blocks(call, call.out[0].elements, [&](int64_t begin, int64_t n, int64_t* clamps) {
    int64_t mean[kUpdateBlock], exact[kUpdateBlock];
    gradient.block(begin, n, mean, clamps);
    for (int64_t i = 0; i < n; ++i) {
      exact[i] = m[begin + i] * (beta1 << kFiner) + mean[i] * (kBetaOne - beta1);
    }
    *clamps += to_moment(exact, n, of_m, static_cast<uint64_t>(call.first + begin), m_out + begin);
    next_root(call, s, mean, beta2, of_s, begin, n, s_out, clamps);
    UpdateDraws draws;
    const uint32_t* r = draws.draw(call, rounding, call.site, call.first + begin, n);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t root = s_out[begin + i] + epsilon, of_w = w[begin + i];
      const Int128 divisor = shl(from_int64(root), down);
      const Int128 moved = shl(mul(corrected, static_cast<int64_t>(m_out[begin + i])), up);
      if (!decays) {
        w_out[begin + i] =
            static_cast<W>(minus_quotient(of_w, moved, divisor, rounding, r[i], bits, clamps));
        continue;
      }
      w_out[begin + i] = static_cast<W>(
          minus_decayed_quotient(of_w, moved, divisor, decay * of_w, rounding, r[i], bits, clamps));
    }
  });
}

Status run(const Call& call) {
  return run_update(call, 3, 4, [&](auto w, auto v, int64_t count) {
    step<decltype(w), decltype(v)>(call, count);
  });
}

}  // namespace

extern const Kernel kernel_adam = {run, false, false, false};

}  // namespace gvm
