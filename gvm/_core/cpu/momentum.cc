#include "cpu/momentum.h"

namespace gvm {

namespace {

// Asks for the block of memory that is next.
template <typename T>
void fetch(const T* p) {
  constexpr int64_t kBytes = kUpdateBlock * static_cast<int64_t>(sizeof(T));
  const char* const from = reinterpret_cast<const char*>(p);
  for (int64_t i = 0; i < kBytes; i += 64) __builtin_prefetch(from + i);
}

template <typename W, typename V>
void step(const Call& call, int64_t count) {
  const int64_t t = call.attr(1) + call.in[2].type.fraction_bits - call.in[1].type.fraction_bits;
  const Rounding state_rounding = static_cast<Rounding>(call.attr(5));
  const Momentum momentum(count, call.attr(0), call.attr(2), static_cast<int>(call.attr(3)), t,
                          state_rounding);
  const UpdateTerms& terms = momentum.terms;
  const UpdateDivisor& divisor = momentum.divisor;
  const int shift = call.in[1].type.fraction_bits - call.in[0].type.fraction_bits;
  const W* w = call.in[0].as<W>();
  const V* v = call.in[1].as<V>();
  const int64_t* gradient = call.in[2].as<int64_t>();
  W* w_out = call.out[0].as<W>();
  V* v_out = call.out[1].as<V>();
  const int v_bits = 8 * static_cast<int>(sizeof(V));
  ConvertSite where;
  where.shift = shift;
  where.rounding = static_cast<Rounding>(call.attr(4));
  where.seed = call.seed;
  where.step = call.step;
  where.site = call.site;
  const UpdateKernels& update = call.cpu->update;
  const ConvertRun to_weights = call.cpu->convert.run[2][sizeof(W) == 2 ? 0 : 1];
  for_update_blocks(call, call.out[0].elements, [&](int64_t begin, int64_t n, int64_t* clamps) {
    UpdateDraws draws;
    const uint32_t* r = draws.draw(call, state_rounding, call.site + 1, call.first + begin, n);
    const int64_t* g = gradient + begin;
    int64_t exact[kUpdateBlock];
    fetch(w + begin + n);
    fetch(v + begin + n);
    fetch(w_out + begin + n);
    fetch(v_out + begin + n);
    const int64_t clamped = momentum.products(update, g, v + begin, n, r, v_out + begin);
    if (clamped >= 0) {
      *clamps += clamped;
    } else if (divisor.lanes &&
               update.numerators(terms, g, v + begin, static_cast<int>(sizeof(V)), n, exact)) {
      call.cpu->quotient.run(exact, n, divisor.narrow, state_rounding, r, nullptr);
      *clamps += update.clamp(exact, n, v_out + begin, static_cast<int>(sizeof(V)));
    } else {
      for (int64_t i = 0; i < n; ++i) {
        v_out[begin + i] =
            static_cast<V>(quotient(momentum.numerator(g[i], v[begin + i]), divisor.wide,
                                    state_rounding, r[i], v_bits, clamps));
      }
    }
    const uint64_t index = static_cast<uint64_t>(call.first + begin);
    if constexpr (sizeof(W) == 2 && sizeof(V) == 2) {
      if (shift >= 1 && shift <= 15) {
        int32_t sums[kUpdateBlock];
        update.narrow_sums(w + begin, shift, v_out + begin, n, sums);
        *clamps += call.cpu->convert.run[1][0](sums, n, where, index, w_out + begin);
        return;
      }
    }
    for (int64_t i = 0; i < n; ++i) exact[i] = v_out[begin + i];
    update.add_shifted(w + begin, static_cast<int>(sizeof(W)), shift, n, exact);
    if (shift == 0) {
      *clamps += update.clamp(exact, n, w_out + begin, static_cast<int>(sizeof(W)));
    } else {
      *clamps += to_weights(exact, n, where, index, w_out + begin);
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
