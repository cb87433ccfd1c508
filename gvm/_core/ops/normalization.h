// What normalize and its gradient require and share (numerics section 7).
#pragma once

#include <algorithm>

#include "op.h"

namespace gvm {

constexpr int kRootBits = 30;     // of the root r of a group: 2^29 <= r < 2^30
constexpr int kGradientBits = 4;  // with which the gradient keeps a ratio, beyond its largest unit
constexpr int kMostRootShift = 29;       // t of D = 1
constexpr int kLeastRootShift = -33;     // t of a D of 125 bits, the most that is accepted
constexpr int kNormalizationBits = 126;  // magnitudes that 128-bit quotients take
constexpr int64_t kMaxGroup = int64_t{1} << 24;

enum {
  kTrailingAxes,
  kCentred,
  kEpsilonMultiplier,
  kEpsilonExponent,
  kNormalizedDtype,
  kNormalizedFractionBits,
  kNormalizedRounding
};

// The elements that are normalised together: the product of the last axes.
inline int64_t group_size(const Type& x, int64_t trailing_axes) {
  return x.product(x.rank - static_cast<int>(trailing_axes), x.rank);
}

// n and sqrt(n) are below 2^group_bits and at most 2^root_of_group_bits.
inline int group_bits(int64_t n) { return bit_length(static_cast<uint64_t>(n)); }
inline int root_of_group_bits(int64_t n) { return (group_bits(n) + 1) / 2; }

// max(1, floor(m * n^2 * 2^(2F - k))): m * n^2 < 2^63.
inline UInt128 group_epsilon(const Attributes& attributes, int64_t n, int fraction_bits) {
  const uint64_t scaled =
      static_cast<uint64_t>(attributes.get(kEpsilonMultiplier)) * static_cast<uint64_t>(n * n);
  const int shift = 2 * fraction_bits - static_cast<int>(attributes.get(kEpsilonExponent));
  const UInt128 v = shift >= 0 ? shl(UInt128{scaled, 0}, shift) : shr(UInt128{scaled, 0}, -shift);
  return v.lo == 0 && v.hi == 0 ? UInt128{1, 0} : v;
}

// The numbers of a gradient: F + F' - Fh, and the bits with which its ratio is kept.
struct GradientShifts {
  int formats, ratio;
};

inline GradientShifts gradient_shifts(int64_t n, int fx, int fh, int fraction_bits) {
  const int formats = fx + fraction_bits - fh;
  return {formats, std::max(0, formats + kGradientBits + root_of_group_bits(n))};
}

// |w| of normalize_grad is below 2^this: sqrt(n) * n * |h| and 2 * n * |h|, both times 2^u, and
// the half by which the ratio is rounded, times c.
inline int gradient_bits(int64_t n, uint64_t x_bound, uint64_t h_bound, int ratio_shift) {
  const int of_h = group_bits(n) + root_of_group_bits(n) + bit_length(h_bound) + 2 + ratio_shift;
  return std::max(of_h, group_bits(n) + bit_length(x_bound)) + 1;
}

// N / D to the nearest integer, half to even, D > 0; not clamped.
constexpr Int128 rounded_ratio(Int128 N, Int128 D) {
  const FloorDivision division = divide_floor(N, D);
  const int order = compare(shl(division.remainder, 1), to_unsigned(D));
  const bool up = order > 0 || (order == 0 && (division.quotient.lo & 1) != 0);
  return add(division.quotient, from_int64(up ? 1 : 0));
}

// Groups of at most 2^24 elements without the batch, an epsilon below 2^124. Then D is below 2^125.
inline bool require_groups(Check& check, int64_t* n) {
  const Type& x = check.in[0];
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16, DType::i32})) {
    return false;
  }
  const int64_t axes = check.attr(kTrailingAxes);
  if (axes > x.rank) {
    return check.fail(Status::bad_attribute,
                      "trailing_axes must be at most the rank of %d, received %lld", x.rank,
                      static_cast<long long>(axes));
  }
  if (x.batch_axis() >= x.rank - static_cast<int>(axes)) {
    return check.fail(Status::bad_batch, "the last %lld axes must not have the batch axis %d",
                      static_cast<long long>(axes), x.batch_axis());
  }
  *n = group_size(x, axes);
  if (*n > kMaxGroup) {
    return check.fail(Status::bad_shape,
                      "elements normalised together must be at most %lld, received %lld",
                      static_cast<long long>(kMaxGroup), static_cast<long long>(*n));
  }
  const int epsilon_bits = bit_length(static_cast<uint64_t>(check.attr(kEpsilonMultiplier)) *
                                      static_cast<uint64_t>(*n * *n)) +
                           2 * x.fraction_bits - static_cast<int>(check.attr(kEpsilonExponent));
  if (check.attr(kEpsilonMultiplier) > 0 && epsilon_bits > 124) {
    return check.fail(Status::unproved_bound, "epsilon must have at most 124 bits, it has %d",
                      epsilon_bits);
  }
  return true;
}

}  // namespace gvm
