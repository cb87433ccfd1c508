// The quotient of section 2 over rows of integers that share a divisor.
#pragma once

#include <algorithm>
#include <limits>

#include "cpu/kernel.h"

namespace gvm {

// numerator * 2^up / (divisor * 2^down), one of up and down being 0, rounded to `out`. The loader
// has proved that both sides stay within 2^126.
struct QuotientSite {
  Rounding rounding = Rounding::nearest;
  uint64_t seed = 0, step = 0;
  uint32_t site = 0;
  DType out = DType::i16;
  int up = 0, down = 0;
};

inline QuotientSite make_quotient_site(const Call& call, Rounding rounding, int fraction_bits_in) {
  QuotientSite s;
  s.rounding = rounding;
  s.seed = call.seed;
  s.step = call.step;
  s.site = call.site;
  s.out = call.out[0].type.dtype;
  const int shift = call.out[0].type.fraction_bits - fraction_bits_in;
  s.up = std::max(shift, 0);
  s.down = std::max(-shift, 0);
  return s;
}

constexpr int64_t kQuotients = 128;  // rounded with one filling of random words

// quotient() of fixed.h before its clamp, without branches; 0 < D <= 2^62, |N| <= 2^62.
inline int64_t quotient_lane(int64_t N, int64_t D, bool stochastic, uint32_t r) {
  const int64_t truncated = N / D, rest = N - truncated * D;
  const int64_t below = rest < 0 ? -1 : 0;  // from the remainder's sign to the floor's
  const int64_t q = truncated + below, remainder = rest + (below & D);
  const int64_t twice = remainder - (D - remainder);
  const bool nearest_up = (twice > 0) | ((twice == 0) & ((q & 1) != 0));
  const bool stochastic_up =
      scale_by_random(static_cast<uint64_t>(D), r) < static_cast<uint64_t>(remainder);
  return q + (stochastic ? stochastic_up : nearest_up);
}

// The same for D = 2^s, 1 <= s <= 32, and stochastic rounding: r * 2^s < remainder * 2^32 iff
// remainder plus the s high bits of ~r carries.
inline int64_t shifted_lane(int64_t N, int s, uint32_t r) {
  return stochastic_lane(N, s, ~r >> (32 - s));
}

// Clamps q, counting where that changes it.
template <typename Out>
Out clamp_lane(int64_t q, int64_t* clamps) {
  constexpr int64_t kMax = std::numeric_limits<Out>::max(), kMin = std::numeric_limits<Out>::min();
  const int64_t clamped = std::min(std::max(q, kMin), kMax);
  *clamps += clamped != q ? 1 : 0;
  return static_cast<Out>(clamped);
}

// Rounds n <= kQuotients numerators, whose random words are given, and returns how many clamped.
template <typename Numerator, typename Out>
int64_t quotients(const QuotientSite& s, const Numerator* x, int64_t n, int64_t divisor,
                  const uint32_t* words, Out* out) {
  constexpr int64_t kLimit = int64_t{1} << 62;
  constexpr int kBits = 8 * static_cast<int>(sizeof(Out));
  const bool stochastic = s.rounding != Rounding::nearest;
  int64_t clamps = 0;
  if ((divisor & (divisor - 1)) == 0) {
    const int shift = bit_length(static_cast<uint64_t>(divisor)) - 1 + s.down - s.up;
    if (stochastic && shift >= 1 && shift <= 32) {
      for (int64_t i = 0; i < n; ++i) {
        out[i] = clamp_lane<Out>(shifted_lane(x[i], shift, words[i]), &clamps);
      }
      return clamps;
    }
  }
  // Sides up to 2^62 are divided by the machine.
  const int64_t largest = s.up < 62 ? kLimit >> s.up : 0;
  const bool narrow = s.down < 62 && divisor <= (kLimit >> s.down);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t numerator = x[i];
    const uint32_t word = stochastic ? words[i] : 0;
    if (narrow && numerator <= largest && numerator >= -largest) {
      const uint64_t shifted = static_cast<uint64_t>(numerator) << std::min(s.up, 63);
      const int64_t q =
          quotient_lane(static_cast<int64_t>(shifted), divisor << s.down, stochastic, word);
      out[i] = clamp_lane<Out>(q, &clamps);
    } else {
      out[i] = static_cast<Out>(quotient(shl(from_int64(numerator), s.up),
                                         shl(from_int64(divisor), s.down), s.rounding, word, kBits,
                                         &clamps));
    }
  }
  return clamps;
}

// Rounds n numerators over one divisor; numerator i draws the word of logical index `index + i`.
// Returns how many clamped.
template <typename Numerator>
int64_t quotient_row(const Call& call, const QuotientSite& s, const Numerator* x, int64_t n,
                     int64_t divisor, int64_t index, void* out) {
  if (s.rounding == Rounding::nearest && (divisor & (divisor - 1)) == 0) {
    // Half to even, as Convert: a power of two discards bits.
    ConvertSite where;
    where.shift = bit_length(static_cast<uint64_t>(divisor)) - 1 + s.down - s.up;
    const int from = sizeof(Numerator) == 2 ? 0 : sizeof(Numerator) == 4 ? 1 : 2;
    return call.cpu->convert.run[from][s.out == DType::i16 ? 0 : 1](
        x, n, where, static_cast<uint64_t>(index), out);
  }
  int64_t clamps = 0;
  uint32_t words[kQuotients + 8];
  for (int64_t done = 0; done < n; done += kQuotients) {
    const int64_t count = std::min(kQuotients, n - done);
    const uint64_t first = static_cast<uint64_t>(index + done);
    if (s.rounding != Rounding::nearest) {
      const uint64_t last = first + static_cast<uint64_t>(count) - 1;
      call.cpu->convert.random_blocks(s.seed, s.site, s.step, purpose_of(s.rounding), first >> 2,
                                      static_cast<int64_t>((last >> 2) - (first >> 2) + 1), words);
    }
    const uint32_t* drawn = words + (first & 3);
    if (s.out == DType::i16) {
      clamps += quotients(s, x + done, count, divisor, drawn, static_cast<int16_t*>(out) + done);
    } else {
      clamps += quotients(s, x + done, count, divisor, drawn, static_cast<int32_t*>(out) + done);
    }
  }
  return clamps;
}

}  // namespace gvm
