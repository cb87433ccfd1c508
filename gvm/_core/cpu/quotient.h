// The quotient of section 2 over rows of integers that share a divisor.
#pragma once

#include <algorithm>

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

// Rounds n <= kQuotients numerators, whose random words are given, and returns how many clamped.
template <typename Numerator, typename Out>
int64_t quotients(const QuotientSite& s, const Numerator* x, int64_t n, int64_t divisor,
                  const uint32_t* words, Out* out) {
  constexpr int64_t kLimit = int64_t{1} << 62;
  constexpr int kBits = 8 * static_cast<int>(sizeof(Out));
  const bool stochastic = s.rounding != Rounding::nearest;
  // Sides below 2^62 are divided by the machine.
  const int64_t largest = s.up < 62 ? kLimit >> s.up : 0;
  const bool narrow = s.down < 62 && divisor <= (kLimit >> s.down);
  int64_t clamps = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t numerator = x[i];
    const uint32_t word = stochastic ? words[i] : 0;
    int64_t q = 0;
    if (narrow && numerator <= largest && numerator >= -largest) {
      const int64_t shifted =
          static_cast<int64_t>(static_cast<uint64_t>(numerator) << std::min(s.up, 63));
      q = quotient(shifted, divisor << s.down, s.rounding, word, kBits, &clamps);
    } else {
      q = quotient(shl(from_int64(numerator), s.up), shl(from_int64(divisor), s.down), s.rounding,
                   word, kBits, &clamps);
    }
    out[i] = static_cast<Out>(q);
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
