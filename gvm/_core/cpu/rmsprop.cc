#include "cpu/moments.h"

namespace gvm {

namespace {

enum { kSteps, kRates, kExponent, kRho, kEpsilon, kEpsilonExponent, kRounding, kStateRounding };

template <typename W, typename M>
void step(const Call& call, int64_t count) {
  const int64_t rate = rate_at(call.list(kSteps), call.list(kRates), call.step);
  const int e = static_cast<int>(call.in[0].type.fraction_bits - call.attr(kExponent)) - kFiner;
  const int up = std::max(0, e), down = std::max(0, -e);
  const int64_t epsilon = call.attr(kEpsilon);
  const Rounding rounding = static_cast<Rounding>(call.attr(kRounding));
  const Rounding state_rounding = static_cast<Rounding>(call.attr(kStateRounding));
  const ConvertSite of_s = state_site(call, state_rounding, call.site + 1, kRootBits);
  const W* w = call.in[0].as<W>();
  const M* s = call.in[1].as<M>();
  W* w_out = call.out[0].as<W>();
  M* s_out = call.out[1].as<M>();
  const int bits = 8 * static_cast<int>(sizeof(W));
  const MeanGradient gradient(call, call.in[2], call.in[1].type, count);
  for_update_blocks(call, call.out[0].elements, [&](int64_t begin, int64_t n, int64_t* clamps) {
    int64_t mean[kUpdateBlock];
    gradient.block(begin, n, mean, clamps);
    next_root(call, s, mean, call.attr(kRho), of_s, begin, n, s_out, clamps);
    UpdateDraws draws;
    const uint32_t* r = draws.draw(call, rounding, call.site, call.first + begin, n);
    for (int64_t i = 0; i < n; ++i) {
      const Int128 divisor = shl(from_int64(s_out[begin + i] + epsilon), down);
      w_out[begin + i] = static_cast<W>(minus_quotient(w[begin + i], shl(mul(rate, mean[i]), up),
                                                       divisor, rounding, r[i], bits, clamps));
    }
  });
}

Status run(const Call& call) {
  return run_update(call, 2, 3, [&](auto w, auto v, int64_t count) {
    step<decltype(w), decltype(v)>(call, count);
  });
}

}  // namespace

extern const Kernel kernel_rmsprop = {run, false, false, false};

}  // namespace gvm
