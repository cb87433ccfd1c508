#include "cpu/optimizer.h"
#include "rate.h"

namespace gvm {

namespace {

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

template <typename W, typename V>
void step(const Call& call, int64_t count) {
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
  const UpdateDivisor divisor(count, s);
  const Int128 keep = shl(mul(call.attr(kMomentum), count), s - kMomentumBits);
  const Int128 shrink = decays ? shl(mul(decay, count), s - 32 + more) : from_int64(0);
  const bool nesterov = call.attr(kNesterov) != 0;
  const Int128 ahead = shl(divisor.wide, more);
  const Divisor ahead_of = {divisor.narrow.count, s + more};
  const Rounding rounding = static_cast<Rounding>(call.attr(kRounding));
  const Rounding state_rounding = static_cast<Rounding>(call.attr(kStateRounding));
  const W* w = call.in[0].as<W>();
  const V* v = call.in[1].as<V>();
  const int64_t* gradient = call.in[2].as<int64_t>();
  W* w_out = call.out[0].as<W>();
  V* v_out = call.out[1].as<V>();
  const int w_bits = 8 * static_cast<int>(sizeof(W)), v_bits = 8 * static_cast<int>(sizeof(V));
  // The three parts of a numerator stay within 2^60 where their operands have so few bits.
  const int gradient_room = 60 - up - bit_length(static_cast<uint64_t>(rate));
  const int velocity_room = 60 - bit_length(to_unsigned(keep));
  const int weight_room = decays ? 60 - bit_length(to_unsigned(shrink)) : 64;
  ConvertSite where;
  where.shift = more;
  where.rounding = rounding;
  where.seed = call.seed;
  where.step = call.step;
  where.site = call.site;
  const ConvertRun to_weights = call.cpu->convert.run[2][sizeof(W) == 2 ? 0 : 1];
  for_update_blocks(call, call.out[0].elements, [&](int64_t begin, int64_t n, int64_t* clamps) {
    UpdateDraws draws;
    const uint32_t* r = draws.draw(call, state_rounding, call.site + 1, call.first + begin, n);
    const int64_t* g = gradient + begin;
    const auto pull = [&](int64_t i) {
      const Int128 moved = shl(mul(g[i], rate), up);
      return decays ? add(moved, mul(shrink, w[begin + i])) : moved;
    };
    int64_t exact[kUpdateBlock], pulls[kUpdateBlock];
    const bool lanes =
        divisor.lanes && (!nesterov || s + more <= 62) && largest_bits(g, n) <= gradient_room &&
        largest_bits(v + begin, n) <= velocity_room && largest_bits(w + begin, n) <= weight_room;
    if (lanes) {
      for (int64_t i = 0; i < n; ++i) {
        const uint64_t moved = static_cast<uint64_t>(g[i] * rate) << up;
        const int64_t kept = static_cast<int64_t>(keep.lo) * v[begin + i];
        const int64_t shrunk = static_cast<int64_t>(shrink.lo) * w[begin + i];
        pulls[i] = shrunk + static_cast<int64_t>(moved);
        exact[i] = kept - pulls[i];
      }
      call.cpu->quotient.run(exact, n, divisor.narrow, state_rounding, r, nullptr);
      *clamps += call.cpu->update.clamp(exact, n, v_out + begin, static_cast<int>(sizeof(V)));
    } else {
      for (int64_t i = 0; i < n; ++i) {
        const Int128 numerator = sub(mul(keep, v[begin + i]), pull(i));
        v_out[begin + i] =
            static_cast<V>(quotient(numerator, divisor.wide, state_rounding, r[i], v_bits, clamps));
      }
    }
    if (nesterov) {
      r = draws.draw(call, rounding, call.site, call.first + begin, n);
      const UpdateKernels& update = call.cpu->update;
      if (lanes && largest_bits(v_out + begin, n) <= velocity_room) {
        for (int64_t i = 0; i < n; ++i) {
          const int64_t kept = static_cast<int64_t>(keep.lo) * v_out[begin + i];
          exact[i] = kept - pulls[i];
        }
        int64_t base[kUpdateBlock] = {};
        update.add_shifted(w + begin, static_cast<int>(sizeof(W)), 0, n, base);
        call.cpu->quotient.run(exact, n, ahead_of, rounding, r, base);
        update.add_shifted(w + begin, static_cast<int>(sizeof(W)), 0, n, exact);
        *clamps += update.clamp(exact, n, w_out + begin, static_cast<int>(sizeof(W)));
        return;
      }
      for (int64_t i = 0; i < n; ++i) {
        const Int128 moved = sub(mul(keep, static_cast<int64_t>(v_out[begin + i])), pull(i));
        const Int128 numerator = add(mul(ahead, static_cast<int64_t>(w[begin + i])), moved);
        w_out[begin + i] =
            static_cast<W>(quotient(numerator, ahead, rounding, r[i], w_bits, clamps));
      }
      return;
    }
    for (int64_t i = 0; i < n; ++i) {
      exact[i] = w[begin + i] * (int64_t{1} << more) + static_cast<int64_t>(v_out[begin + i]);
    }
    *clamps +=
        to_weights(exact, n, where, static_cast<uint64_t>(call.first + begin), w_out + begin);
  });
}

Status run(const Call& call) {
  return run_update(call, 2, 3, [&](auto w, auto v, int64_t count) {
    step<decltype(w), decltype(v)>(call, count);
  });
}

}  // namespace

extern const Kernel kernel_gradient_descent = {run, false, false, false};

}  // namespace gvm
