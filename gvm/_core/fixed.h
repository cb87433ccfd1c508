// The arithmetic of docs/arithmetic.md, as a specification that compiles.
//
// Everything a program computes is an exact integer formula followed by one rounding. The two
// roundings, Convert and quotient, and the 128-bit integers under them are defined here. The plain
// Python twin is gvm/fixed.py; both are held to the same vectors (tests/vectors/fixed).
//
// How to read this file
// - A function is written the way it is defined. Where a kernel wants something quicker, a second
//   form stands beside it, named `*_bounded` or `*_lane` or taking 64-bit arguments, and a comment
//   says for which inputs it equals the definition and that tests/test_proofs.py proves it there.
// - Every function is total: any argument has a stated value, except that `bits`, the width of the
//   result's type, must lie in [1, 64]; it comes from a type and never from data.
// - No floating point, no signed overflow, no left shift of a negative, no __int128 (32-bit targets
//   have none). Right shifts of negatives are arithmetic, as in every compiler this builds with.
// - Everything is constexpr: the compiler may evaluate it, and nvcc may call it on a device under
//   --expt-relaxed-constexpr without any annotation.
#pragma once

#include <cstdint>
#include <type_traits>

namespace gvm {

// How a rounding site rounds. The values are published and hashed. `nearest` is half to even; every
// other value is stochastic and equals the Philox purpose its draws come from (random.h).
enum class Rounding : uint8_t {
  nearest = 0,
  forward = 1,
  backward = 2,
  update = 3,
  optimizer_state = 4,
};

// ---------------------------------------------------------------------------------------------
// 128-bit integers in two limbs
// ---------------------------------------------------------------------------------------------

// Two's complement: the value is hi * 2^64 + lo. Sums and products are taken modulo 2^128, so they
// are exact wherever the true result fits; callers prove that it does.
struct Int128 {
  uint64_t lo;
  int64_t hi;
};

// The same 128 bits without a sign: magnitudes, remainders and denominators.
struct UInt128 {
  uint64_t lo;
  uint64_t hi;
};

constexpr Int128 from_int64(int64_t v) { return {static_cast<uint64_t>(v), v < 0 ? -1 : 0}; }
constexpr Int128 from_uint64(uint64_t v) { return {v, 0}; }
constexpr UInt128 to_unsigned(Int128 v) { return {v.lo, static_cast<uint64_t>(v.hi)}; }
constexpr Int128 to_signed(UInt128 v) { return {v.lo, static_cast<int64_t>(v.hi)}; }
constexpr bool is_negative(Int128 v) { return v.hi < 0; }
constexpr bool is_zero(Int128 v) { return v.lo == 0 && v.hi == 0; }

// Whether v is the value of an int64_t, which is then static_cast<int64_t>(v.lo).
constexpr bool fits_int64(Int128 v) { return v.hi == (static_cast<int64_t>(v.lo) < 0 ? -1 : 0); }

constexpr UInt128 add(UInt128 a, UInt128 b) {
  const uint64_t lo = a.lo + b.lo;
  return {lo, a.hi + b.hi + (lo < a.lo ? 1u : 0u)};
}

constexpr UInt128 sub(UInt128 a, UInt128 b) {
  return {a.lo - b.lo, a.hi - b.hi - (a.lo < b.lo ? 1u : 0u)};
}

constexpr Int128 add(Int128 a, Int128 b) { return to_signed(add(to_unsigned(a), to_unsigned(b))); }
constexpr Int128 sub(Int128 a, Int128 b) { return to_signed(sub(to_unsigned(a), to_unsigned(b))); }
constexpr Int128 neg(Int128 v) { return sub(Int128{0, 0}, v); }

// -1, 0 or 1 as a is less than, equal to or greater than b.
constexpr int compare(UInt128 a, UInt128 b) {
  if (a.hi != b.hi) return a.hi < b.hi ? -1 : 1;
  if (a.lo != b.lo) return a.lo < b.lo ? -1 : 1;
  return 0;
}

constexpr int compare(Int128 a, Int128 b) {
  if (a.hi != b.hi) return a.hi < b.hi ? -1 : 1;
  if (a.lo != b.lo) return a.lo < b.lo ? -1 : 1;
  return 0;
}

// v * 2^n modulo 2^128; 0 for n >= 128, v for n <= 0.
constexpr UInt128 shl(UInt128 v, int n) {
  if (n <= 0) return v;
  if (n >= 128) return {0, 0};
  if (n >= 64) return {0, v.lo << (n - 64)};
  return {v.lo << n, (v.hi << n) | (v.lo >> (64 - n))};
}

// floor(v / 2^n); 0 for n >= 128, v for n <= 0.
constexpr UInt128 shr(UInt128 v, int n) {
  if (n <= 0) return v;
  if (n >= 128) return {0, 0};
  if (n >= 64) return {v.hi >> (n - 64), 0};
  return {(v.lo >> n) | (v.hi << (64 - n)), v.hi >> n};
}

constexpr Int128 shl(Int128 v, int n) { return to_signed(shl(to_unsigned(v), n)); }

// floor(v / 2^n), the arithmetic shift; the sign (-1 or 0) for n >= 128, v for n <= 0.
constexpr Int128 shr(Int128 v, int n) {
  const int64_t sign = v.hi < 0 ? -1 : 0;
  if (n <= 0) return v;
  if (n >= 128) return {static_cast<uint64_t>(sign), sign};
  if (n >= 64) return {static_cast<uint64_t>(v.hi >> (n - 64)), sign};
  return {(v.lo >> n) | (static_cast<uint64_t>(v.hi) << (64 - n)), v.hi >> n};
}

// The exact product, by four 32-bit products. Their combination is proved for all values they take.
constexpr UInt128 mul_unsigned(uint64_t a, uint64_t b) {
  const uint64_t a0 = a & 0xffffffffu, a1 = a >> 32, b0 = b & 0xffffffffu, b1 = b >> 32;
  const uint64_t p00 = a0 * b0, p01 = a0 * b1, p10 = a1 * b0, p11 = a1 * b1;
  const uint64_t middle = (p00 >> 32) + (p01 & 0xffffffffu) + (p10 & 0xffffffffu);
  return {(middle << 32) | (p00 & 0xffffffffu), p11 + (p01 >> 32) + (p10 >> 32) + (middle >> 32)};
}

// The exact product. A negative factor counts 2^64 too much in the other; proved.
constexpr Int128 mul(int64_t a, int64_t b) {
  UInt128 p = mul_unsigned(static_cast<uint64_t>(a), static_cast<uint64_t>(b));
  if (a < 0) p.hi -= static_cast<uint64_t>(b);
  if (b < 0) p.hi -= static_cast<uint64_t>(a);
  return to_signed(p);
}

// The product modulo 2^128; exact where it fits.
constexpr Int128 mul(Int128 a, int64_t b) {
  UInt128 p = mul_unsigned(a.lo, static_cast<uint64_t>(b));
  p.hi += static_cast<uint64_t>(a.hi) * static_cast<uint64_t>(b);
  if (b < 0) p.hi -= a.lo;
  return to_signed(p);
}

// The number of bits of v without leading zeros: 0 for 0, else floor(log2 v) + 1.
constexpr int bit_length(uint64_t v) {
  int n = 0;
  for (int step = 32; step != 0; step >>= 1) {
    if ((v >> step) != 0) {
      v >>= step;
      n += step;
    }
  }
  return v != 0 ? n + 1 : 0;
}

constexpr int bit_length(UInt128 v) { return v.hi != 0 ? 64 + bit_length(v.hi) : bit_length(v.lo); }

// ---------------------------------------------------------------------------------------------
// Limits
// ---------------------------------------------------------------------------------------------

// The largest and smallest value of a two's-complement type of `bits` bits.
constexpr int64_t limit_max(int bits) {
  return static_cast<int64_t>((uint64_t{1} << (bits - 1)) - 1);
}
constexpr int64_t limit_min(int bits) { return -limit_max(bits) - 1; }

// The value of `bits` bits nearest to v; *clamped says whether it differs from v.
constexpr int64_t clamp_to(int64_t v, int bits, bool* clamped) {
  const int64_t max = limit_max(bits), min = limit_min(bits);
  *clamped = v > max || v < min;
  return v > max ? max : v < min ? min : v;
}

constexpr int64_t clamp_to(Int128 v, int bits, bool* clamped) {
  if (fits_int64(v)) return clamp_to(static_cast<int64_t>(v.lo), bits, clamped);
  *clamped = true;
  return is_negative(v) ? limit_min(bits) : limit_max(bits);
}

// clamp_to, adding 1 to *clamps where it changed the value. A site's count is the sum of these.
template <typename Integer>
constexpr int64_t clamp_and_count(Integer v, int bits, int64_t* clamps) {
  bool clamped = false;
  const int64_t result = clamp_to(v, bits, &clamped);
  *clamps += clamped ? 1 : 0;
  return result;
}

// The gradient through a Convert (section 2): delta, but 0 where q is at a limit and the step,
// which goes against delta, would push it further out.
constexpr int64_t gradient_through_convert(int64_t delta, int64_t q, int bits) {
  if (q == limit_max(bits) && delta < 0) return 0;
  if (q == limit_min(bits) && delta > 0) return 0;
  return delta;
}

// Section 4: whether `terms` products of two i16 and, where `has_bias`, an i32 bias at
// bias_fraction_bits, shifted left exactly to fraction_bits, keep |sum| <= 2^62:
// terms * 2^30 + 2^(31 + fraction_bits - bias_fraction_bits) <= 2^62.
constexpr bool accumulator_fits(uint64_t terms, bool has_bias, int fraction_bits,
                                int bias_fraction_bits) {
  const uint64_t limit = uint64_t{1} << 62;
  if (terms > (limit >> 30)) return false;
  if (!has_bias) return true;
  if (bias_fraction_bits > fraction_bits || fraction_bits > bias_fraction_bits + 31) return false;
  return (uint64_t{1} << (31 + fraction_bits - bias_fraction_bits)) <= limit - (terms << 30);
}

// ---------------------------------------------------------------------------------------------
// Convert
// ---------------------------------------------------------------------------------------------
//
// A is exact at fa fraction bits and wanted at F: s = fa - F bits are discarded, or for s <= 0
// gained. The result is clamped to `bits`, and a clamp adds 1 to *clamps. Any A and any s.

// A * 2^-s for s <= 0, exactly, saturating.
constexpr int64_t shift_left_saturating(int64_t A, int s, int bits, int64_t* clamps) {
  if (A == 0) return 0;
  const int64_t max = limit_max(bits);
  const uint64_t min_magnitude = static_cast<uint64_t>(max) + 1;
  // Past the limit: A * 2^-s > max, or -A - 1 >= floor(2^(bits - 1) / 2^-s). Above 63 places, any
  // A.
  if (s < -63 || A > (max >> -s) || (A < 0 && ~static_cast<uint64_t>(A) >= min_magnitude >> -s)) {
    *clamps += 1;
    return A < 0 ? limit_min(bits) : max;
  }
  return static_cast<int64_t>(static_cast<uint64_t>(A) << -s);
}

// A / 2^s to the nearest integer, half to even; s >= 1. For s >= 64, |A / 2^s| <= 1/2, hence 0.
constexpr int64_t round_nearest(int64_t A, int s) {
  if (s >= 64) return 0;
  const int64_t q = A >> s;
  const uint64_t discarded = static_cast<uint64_t>(A) & ((uint64_t{1} << s) - 1);
  const uint64_t half = uint64_t{1} << (s - 1);
  const bool up = discarded > half || (discarded == half && (q & 1) != 0);
  return q + (up ? 1 : 0);
}

constexpr int64_t convert_nearest(int64_t A, int s, int bits, int64_t* clamps) {
  if (s <= 0) return shift_left_saturating(A, s, bits, clamps);
  return clamp_and_count(round_nearest(A, s), bits, clamps);
}

// The random bits a stochastic Convert discarding s bits draws: 0, 16 or 32 (random.h).
constexpr int convert_random_bits(int s) { return s <= 0 ? 0 : s <= 16 ? 16 : 32; }

// floor(A / 2^s + 1/2); s >= 1. For s >= 64, A / 2^s lies in [-1/2, 1/2), hence 0.
constexpr int64_t round_half_up(int64_t A, int s) {
  if (s >= 64) return 0;
  return (A >> s) + ((A >> (s - 1)) & 1);
}

// floor((A + noise) / 2^s) for 1 <= s <= 32 and noise of s bits, without leaving 64 bits: the
// sum is split at bit s. For noise uniform, P(one more than the floor) = discarded / 2^s.
constexpr int64_t add_noise_and_shift(int64_t A, int s, uint32_t noise) {
  const uint64_t discarded = static_cast<uint64_t>(A) & ((uint64_t{1} << s) - 1);
  return (A >> s) + static_cast<int64_t>((discarded + noise) >> s);
}

// r is uniform, of convert_random_bits(s) bits; higher bits are ignored.
//   s <= 0        exact, r unused
//   s <= 16       (A + (r >> (16 - s))) >> s
//   s <= 32       (A + (r >> (32 - s))) >> s
//   above         A to s - 32 fewer bits, half up, then as for 32
constexpr int64_t convert_stochastic(int64_t A, int s, uint32_t r, int bits, int64_t* clamps) {
  if (s <= 0) return shift_left_saturating(A, s, bits, clamps);
  int64_t q = 0;
  if (s <= 16) {
    q = add_noise_and_shift(A, s, (r & 0xffffu) >> (16 - s));
  } else if (s <= 32) {
    q = add_noise_and_shift(A, s, r >> (32 - s));
  } else {
    q = add_noise_and_shift(round_half_up(A, s - 32), 32, r);
  }
  return clamp_and_count(q, bits, clamps);
}

constexpr int64_t convert(int64_t A, int s, Rounding rounding, uint32_t r, int bits,
                          int64_t* clamps) {
  return rounding == Rounding::nearest ? convert_nearest(A, s, bits, clamps)
                                       : convert_stochastic(A, s, r, bits, clamps);
}

// Forms for kernels, before the clamp; Lane is int32_t or int64_t, W its width. No branches, so
// that compilers vectorise them; all proved equal to the above for every input stated.

// round_nearest for any A and 1 <= s <= W - 1.
template <typename Lane>
constexpr Lane nearest_lane(Lane A, int s) {
  using Bits = std::make_unsigned_t<Lane>;
  const Lane q = A >> s;
  const Bits discarded = static_cast<Bits>(A) & ((Bits{1} << s) - 1);
  const Bits bump = (Bits{1} << (s - 1)) - 1 + (static_cast<Bits>(q) & 1);
  return q + static_cast<Lane>((discarded + bump) >> s);
}

// round_nearest for |A| <= 2^(W - 2) and 1 <= s <= W - 2.
template <typename Lane>
constexpr Lane nearest_bounded(Lane A, int s) {
  return (A + ((Lane{1} << (s - 1)) - 1) + ((A >> s) & 1)) >> s;
}

// add_noise_and_shift for any A, 1 <= s <= min(32, W - 1), noise < 2^s.
template <typename Lane>
constexpr Lane stochastic_lane(Lane A, int s, uint32_t noise) {
  using Bits = std::make_unsigned_t<Lane>;
  const Bits discarded = static_cast<Bits>(A) & ((Bits{1} << s) - 1);
  return (A >> s) + static_cast<Lane>((discarded + noise) >> s);
}

// add_noise_and_shift for |A| <= 2^(W - 2), 1 <= s <= min(32, W - 2), noise < 2^s.
template <typename Lane>
constexpr Lane stochastic_bounded(Lane A, int s, uint32_t noise) {
  return (A + static_cast<Lane>(noise)) >> s;
}

// ---------------------------------------------------------------------------------------------
// Quotient
// ---------------------------------------------------------------------------------------------

struct Division {
  UInt128 quotient;
  UInt128 remainder;
};

// n = quotient * d + remainder, remainder < d; d = 0 gives {0, n}. Long division in digits of 32
// bits: the estimate from two digits of d, d shifted so that its top bit is set, is never too small
// and at most 2 too large, so it is stepped down while quotient * d exceeds n.
constexpr Division divide(UInt128 n, UInt128 d) {
  if (d.hi == 0 && d.lo == 0) return {{0, 0}, n};
  if (n.hi == 0 && d.hi == 0) return {{n.lo / d.lo, 0}, {n.lo % d.lo, 0}};
  if (d.hi == 0 && (d.lo >> 32) == 0) {
    const uint64_t digits[4] = {n.hi >> 32, n.hi & 0xffffffffu, n.lo >> 32, n.lo & 0xffffffffu};
    UInt128 quotient = {0, 0};
    uint64_t remainder = 0;
    for (const uint64_t digit : digits) {
      const uint64_t part = (remainder << 32) | digit;
      quotient = shl(quotient, 32);
      quotient.lo |= part / d.lo;
      remainder = part % d.lo;
    }
    return {quotient, {remainder, 0}};
  }
  UInt128 quotient = {0, 0};
  UInt128 remainder = n;
  const int length = bit_length(d);
  const uint64_t top = shr(shl(d, 128 - length), 96).lo;  // d's first 32 bits, in [2^31, 2^32)
  for (int position = 3; position >= 0; --position) {
    // One digit: the largest c with c * d * 2^(32 * position) <= remainder, if d reaches up there.
    const int places = 32 * position;
    if (places + length > 128) continue;
    // remainder < d * 2^(places + 32), so its part above d's first 32 bits has at most 64 bits.
    uint64_t estimate = shr(remainder, places + length - 32).lo / top;
    const UInt128 shifted = shl(d, places);
    // estimate * shifted, exact: below 2^161, kept as a low part and its digit above 2^128.
    UInt128 low = mul_unsigned(shifted.lo, estimate);
    const UInt128 high = mul_unsigned(shifted.hi, estimate);
    const UInt128 sum = add(UInt128{low.hi, 0}, high);
    low.hi = sum.lo;
    uint64_t above = sum.hi;
    while (above != 0 || compare(low, remainder) > 0) {
      estimate -= 1;
      above -= compare(low, shifted) < 0 ? 1u : 0u;
      low = sub(low, shifted);
    }
    remainder = sub(remainder, low);
    quotient = add(quotient, shl(UInt128{estimate, 0}, places));
  }
  return {quotient, remainder};
}

// floor(N / D) and N - floor(N / D) * D in [0, D), for D > 0.
struct FloorDivision {
  Int128 quotient;
  UInt128 remainder;
};

constexpr FloorDivision divide_floor(Int128 N, Int128 D) {
  const UInt128 d = to_unsigned(D);
  if (!is_negative(N)) {
    const Division division = divide(to_unsigned(N), d);
    return {to_signed(division.quotient), division.remainder};
  }
  const Division division = divide(to_unsigned(neg(N)), d);
  const Int128 quotient = neg(to_signed(division.quotient));
  if (division.remainder.lo == 0 && division.remainder.hi == 0) return {quotient, {0, 0}};
  return {sub(quotient, from_int64(1)), sub(d, division.remainder)};
}

// floor(r * d / 2^32). Since remainder * 2^32 is a multiple of 2^32,
// r * D < remainder * 2^32  iff  floor(r * D / 2^32) < remainder. Both proved.
constexpr uint64_t scale_by_random(uint64_t d, uint32_t r) {
  return (d & 0xffffffffu) * r / (uint64_t{1} << 32) + (d >> 32) * r;
}

constexpr UInt128 scale_by_random(UInt128 d, uint32_t r) {
  return add(UInt128{scale_by_random(d.lo, r), 0}, shl(mul_unsigned(d.hi, r), 32));
}

// The value where D <= 0, which callers exclude: N's sign at the limit, counted as a clamp; 0 for
// 0.
constexpr int64_t quotient_without_divisor(Int128 N, int bits, int64_t* clamps) {
  if (is_zero(N)) return 0;
  *clamps += 1;
  return is_negative(N) ? limit_min(bits) : limit_max(bits);
}

// N / D to the nearest integer, half to even, clamped to `bits`. Any N, any D.
constexpr int64_t quotient_nearest(Int128 N, Int128 D, int bits, int64_t* clamps) {
  if (is_negative(D) || is_zero(D)) return quotient_without_divisor(N, bits, clamps);
  const FloorDivision division = divide_floor(N, D);
  const int order = compare(shl(division.remainder, 1), to_unsigned(D));
  const bool up = order > 0 || (order == 0 && (division.quotient.lo & 1) != 0);
  return clamp_and_count(add(division.quotient, from_int64(up ? 1 : 0)), bits, clamps);
}

// floor(N / D), plus 1 iff r * D < remainder * 2^32, clamped to `bits`; r uniform of 32 bits.
constexpr int64_t quotient_stochastic(Int128 N, Int128 D, uint32_t r, int bits, int64_t* clamps) {
  if (is_negative(D) || is_zero(D)) return quotient_without_divisor(N, bits, clamps);
  const FloorDivision division = divide_floor(N, D);
  const bool up = compare(scale_by_random(to_unsigned(D), r), division.remainder) < 0;
  return clamp_and_count(add(division.quotient, from_int64(up ? 1 : 0)), bits, clamps);
}

constexpr int64_t quotient(Int128 N, Int128 D, Rounding rounding, uint32_t r, int bits,
                           int64_t* clamps) {
  return rounding == Rounding::nearest ? quotient_nearest(N, D, bits, clamps)
                                       : quotient_stochastic(N, D, r, bits, clamps);
}

// The same values for 64-bit N and D, by the machine's division. The step from its remainder (the
// sign of N) to the floor's, and both decisions to round up, are proved.
constexpr int64_t quotient_nearest(int64_t N, int64_t D, int bits, int64_t* clamps) {
  if (D <= 0) return quotient_without_divisor(from_int64(N), bits, clamps);
  const int64_t truncated = N / D, rest = N % D;
  const int64_t q = truncated - (rest < 0 ? 1 : 0);
  const int64_t remainder = rest + (rest < 0 ? D : 0);
  const bool up = remainder > D - remainder || (remainder == D - remainder && (q & 1) != 0);
  return clamp_and_count(q + (up ? 1 : 0), bits, clamps);
}

constexpr int64_t quotient_stochastic(int64_t N, int64_t D, uint32_t r, int bits, int64_t* clamps) {
  if (D <= 0) return quotient_without_divisor(from_int64(N), bits, clamps);
  const int64_t truncated = N / D, rest = N % D;
  const int64_t q = truncated - (rest < 0 ? 1 : 0);
  const uint64_t remainder = static_cast<uint64_t>(rest + (rest < 0 ? D : 0));
  const bool up = scale_by_random(static_cast<uint64_t>(D), r) < remainder;
  return clamp_and_count(q + (up ? 1 : 0), bits, clamps);
}

constexpr int64_t quotient(int64_t N, int64_t D, Rounding rounding, uint32_t r, int bits,
                           int64_t* clamps) {
  return rounding == Rounding::nearest ? quotient_nearest(N, D, bits, clamps)
                                       : quotient_stochastic(N, D, r, bits, clamps);
}

// ---------------------------------------------------------------------------------------------
// Square root
// ---------------------------------------------------------------------------------------------

// floor(sqrt(v)), digit by digit in base 4.
constexpr uint64_t isqrt64(uint64_t v) {
  uint64_t rest = v, root = 0;
  for (uint64_t bit = uint64_t{1} << 62; bit != 0; bit >>= 2) {
    const uint64_t trial = root + bit;
    root >>= 1;
    if (rest >= trial) {
      rest -= trial;
      root += bit;
    }
  }
  return root;
}

// floor(sqrt(v)); 0 for negative v.
constexpr uint64_t isqrt(Int128 v) {
  if (is_negative(v)) return 0;
  if (v.hi == 0) return isqrt64(v.lo);
  UInt128 rest = to_unsigned(v), root = {0, 0};
  for (UInt128 bit = {0, uint64_t{1} << 62}; bit.lo != 0 || bit.hi != 0; bit = shr(bit, 2)) {
    const UInt128 trial = add(root, bit);
    root = shr(root, 1);
    if (compare(rest, trial) >= 0) {
      rest = sub(rest, trial);
      root = add(root, bit);
    }
  }
  return root.lo;
}

}  // namespace gvm
