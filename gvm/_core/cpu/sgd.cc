#include "cpu/optimizer.h"

namespace gvm {

namespace {

template <typename W>
void step(const Call& call, int64_t count) {
  const int64_t e = call.in[0].type.fraction_bits - call.in[1].type.fraction_bits - call.attr(1);
  const int down = static_cast<int>(std::max<int64_t>(0, -e));
  const int up = static_cast<int>(std::max<int64_t>(0, e));
  const int64_t rate = call.attr(0);
  const UpdateDivisor divisor(count, down);
  const Rounding rounding = static_cast<Rounding>(call.attr(2));
  const W* w = call.in[0].as<W>();
  const int64_t* gradient = call.in[1].as<int64_t>();
  W* out = call.out[0].as<W>();
  const int bits = 8 * static_cast<int>(sizeof(W));
  // A numerator stays within 2^61 where the gradient has so few bits.
  const UpdateTerms terms = {rate, 0, up, 61 - up - bit_length(static_cast<uint64_t>(rate)), 0};
  const UpdateKernels& update = call.cpu->update;
  for_update_blocks(call, call.out[0].elements, [&](int64_t begin, int64_t n, int64_t* clamps) {
    UpdateDraws draws;
    const uint32_t* r = draws.draw(call, rounding, call.site, call.first + begin, n);
    const int64_t* g = gradient + begin;
    int64_t exact[kUpdateBlock];
    if (divisor.lanes && update.numerators(terms, g, nullptr, 0, n, exact)) {
      int64_t base[kUpdateBlock] = {};
      update.add_shifted(w + begin, static_cast<int>(sizeof(W)), 0, n, base);
      call.cpu->quotient.run(exact, n, divisor.narrow, rounding, r, base);
      update.add_shifted(w + begin, static_cast<int>(sizeof(W)), 0, n, exact);
      *clamps += update.clamp(exact, n, out + begin, static_cast<int>(sizeof(W)));
      return;
    }
    for (int64_t i = 0; i < n; ++i) {
      const Int128 moved = shl(mul(g[i], rate), up);
      const Int128 numerator = sub(mul(divisor.wide, int64_t{w[begin + i]}), moved);
      out[begin + i] =
          static_cast<W>(quotient(numerator, divisor.wide, rounding, r[i], bits, clamps));
    }
  });
}

Status run(const Call& call) {
  return run_update(call, 1, 2,
                    [&](auto w, auto, int64_t count) { step<decltype(w)>(call, count); });
}

}  // namespace

extern const Kernel kernel_sgd = {run, false, false, false, false, false, true};

}  // namespace gvm
