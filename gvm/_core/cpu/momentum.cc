#include "cpu/optimizer.h"

namespace gvm {

namespace {

template <typename W, typename V>
void step(const Call& call, int64_t count) {
  const int64_t t = call.attr(1) + call.in[2].type.fraction_bits - call.in[1].type.fraction_bits;
  const int64_t s = std::max<int64_t>({call.attr(3), t, 0});
  const int64_t rate = call.attr(0);
  const UpdateDivisor divisor(count, static_cast<int>(s));
  const Int128 keep = shl(mul(call.attr(2), count), static_cast<int>(s - call.attr(3)));
  const int up = static_cast<int>(s - t);
  const int shift = call.in[1].type.fraction_bits - call.in[0].type.fraction_bits;
  const Rounding state_rounding = static_cast<Rounding>(call.attr(5));
  const W* w = call.in[0].as<W>();
  const V* v = call.in[1].as<V>();
  const int64_t* gradient = call.in[2].as<int64_t>();
  W* w_out = call.out[0].as<W>();
  V* v_out = call.out[1].as<V>();
  const int v_bits = 8 * static_cast<int>(sizeof(V));
  // Both parts of a numerator stay within 2^61 where gradient and velocity have so few bits.
  UpdateTerms terms;
  terms.rate = rate;
  terms.keep = static_cast<int64_t>(keep.lo);
  terms.up = up;
  terms.gradient_room = 61 - up - bit_length(static_cast<uint64_t>(rate));
  terms.velocity_room = 61 - bit_length(to_unsigned(keep));
  ConvertSite where;
  where.shift = call.in[1].type.fraction_bits - call.in[0].type.fraction_bits;
  where.rounding = static_cast<Rounding>(call.attr(4));
  where.seed = call.seed;
  where.step = call.step;
  where.site = call.site;
  const UpdateKernels& update = call.cpu->update;
  const ConvertRun to_weights = call.cpu->convert.run[2][sizeof(W) == 2 ? 0 : 1];
  for_update_blocks(call, call.out[0].elements, [&](int64_t begin, int64_t n, int64_t* clamps) {
    UpdateDraws draws;
    const uint32_t* r = draws.draw(call, state_rounding, call.site + 1, begin, n);
    const int64_t* g = gradient + begin;
    int64_t exact[kUpdateBlock];
    if (divisor.lanes &&
        update.numerators(terms, g, v + begin, static_cast<int>(sizeof(V)), n, exact)) {
      call.cpu->quotient.run(exact, n, divisor.narrow, state_rounding, r, nullptr);
      *clamps += update.clamp(exact, n, v_out + begin, static_cast<int>(sizeof(V)));
    } else {
      for (int64_t i = 0; i < n; ++i) {
        const Int128 moved = shl(mul(g[i], rate), up);
        const Int128 numerator = sub(mul(keep, v[begin + i]), moved);
        v_out[begin + i] =
            static_cast<V>(quotient(numerator, divisor.wide, state_rounding, r[i], v_bits, clamps));
        exact[i] = v_out[begin + i];
      }
    }
    update.add_shifted(w + begin, static_cast<int>(sizeof(W)), shift, n, exact);
    if (shift == 0) {
      *clamps += update.clamp(exact, n, w_out + begin, static_cast<int>(sizeof(W)));
    } else {
      *clamps +=
          to_weights(exact, n, where, static_cast<uint64_t>(call.first + begin), w_out + begin);
    }
  });
}

Status run(const Call& call) {
  return run_update(call, 2, 3, [&](auto w, auto v, int64_t count) {
    step<decltype(w), decltype(v)>(call, count);
  });
}

}  // namespace

extern const Kernel kernel_momentum = {run, false, false, false, false, false, true};

}  // namespace gvm
