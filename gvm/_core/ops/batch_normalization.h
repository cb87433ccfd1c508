// What batch_normalize and its gradient require and share (numerics section 7).
#pragma once

#include <algorithm>

#include "op.h"

namespace gvm {

constexpr int kChannelRootBits = 30;         // of the root r of a channel: 2^29 <= r < 2^30
constexpr int kMostChannelRootShift = 29;    // t of D = 1
constexpr int kLeastChannelRootShift = -33;  // t of a D of 125 bits, the most that is accepted
constexpr int kChannelBits = 126;            // magnitudes that 128-bit quotients take
constexpr int kSpreadBits = 124;             // of D's two terms
constexpr int kMostCountBits = 44;           // of N
constexpr int kMostProductBits = 94;         // of K: times a slope it stays within 125 bits
constexpr int kXBits = 15;                   // x and delta are i16
constexpr int kKeepBits = 20;

enum { kChannelKind, kPositions, kChannelEpsilonMultiplier, kChannelEpsilonExponent };
enum { kKeep = 4, kUnbiased, kBatchDtype, kBatchFractionBits, kBatchRounding };
enum { kGradDtype = 4, kGradFractionBits, kGradRounding };
enum { kInTraining, kInUse, kRunningMean, kRunningVariance };
enum { kOfX, kOfScale };

// Attributes that a channel's totals are read by.
struct ChannelRule {
  int64_t positions, epsilon;
  int epsilon_exponent;
};

inline ChannelRule channel_rule(const Attributes& attributes) {
  return {attributes.get(kPositions), attributes.get(kChannelEpsilonMultiplier),
          static_cast<int>(attributes.get(kChannelEpsilonExponent))};
}

// floor(m * N^2 * 2^(2F - k)), at least 1; N^2 below 2^88, the loader has proved the rest.
constexpr UInt128 channel_epsilon(const ChannelRule& rule, int64_t n, int squared_bits) {
  const UInt128 square = mul_unsigned(static_cast<uint64_t>(n), static_cast<uint64_t>(n));
  const uint64_t m = static_cast<uint64_t>(rule.epsilon);
  UInt128 scaled = mul_unsigned(square.lo, m);
  scaled.hi += square.hi * m;
  const int shift = squared_bits - rule.epsilon_exponent;
  const UInt128 v = shift >= 0 ? shl(scaled, shift) : shr(scaled, -shift);
  return v.lo == 0 && v.hi == 0 ? UInt128{1, 0} : v;
}

// The most that a sum of n numbers of 16 bits can be, in units of 2^-up of its own. The scale's
// gradient is held to it, not to the bound of its type: that depends on the session's max_batch.
constexpr int64_t most_total(int64_t n, int up) {
  const int64_t most = n << kXBits;
  return up >= 0 ? most << up : (most >> (up < -63 ? 63 : -up)) + 1;
}

// Bits of N = count * positions.
inline int count_bits(const Check& check, int count) {
  return bit_length(check.in[static_cast<size_t>(count)].bound) +
         bit_length(static_cast<uint64_t>(check.attr(kPositions)));
}

// Bits of a total of i16: at most N * 2^15, to which it is held.
inline int total_bits(const Check& check, int total, int count) {
  return std::min(count_bits(check, count) + kXBits,
                  bit_length(check.in[static_cast<size_t>(total)].bound));
}

// The operand is [channels] and shared.
inline bool require_channels(Check& check, int input, int64_t channels) {
  if (!check.require_shared(input) || !check.require_rank(input, 1, 1)) return false;
  const int64_t given = check.in[static_cast<size_t>(input)].dims[0];
  if (given == channels) return true;
  return check.fail(Status::bad_shape, "input %d must have %lld channels, received %lld", input,
                    static_cast<long long>(channels), static_cast<long long>(given));
}

inline bool require_fraction_bits(Check& check, int input, int wanted) {
  const int given = check.in[static_cast<size_t>(input)].fraction_bits;
  if (given == wanted) return true;
  return check.fail(Status::bad_type, "input %d must have %d fraction bits, received %d", input,
                    wanted, given);
}

// A batched or shared x [..., C] of i16: its last axis is `channels`.
inline bool require_rows(Check& check, int input, int64_t channels) {
  const Type& x = check.in[static_cast<size_t>(input)];
  if (!check.require_dtype(input, {DType::i16}) || !check.require_rank(input, 1, kMaxRank)) {
    return false;
  }
  if (x.dims[x.rank - 1] == kBatch) {
    return check.fail(Status::bad_batch, "input %d: the last axis must not be the batch", input);
  }
  if (x.dims[x.rank - 1] == channels) return true;
  return check.fail(Status::bad_shape, "input %d must have %lld channels, received %lld", input,
                    static_cast<long long>(channels), static_cast<long long>(x.dims[x.rank - 1]));
}

// As many elements of a channel in an example as the attribute says.
inline bool require_positions(Check& check, int input) {
  const Type& x = check.in[static_cast<size_t>(input)];
  const int64_t given = x.product(0, x.rank - 1);
  if (given == check.attr(kPositions)) return true;
  return check.fail(Status::bad_shape, "positions must be those of input %d, %lld, received %lld",
                    input, static_cast<long long>(given),
                    static_cast<long long>(check.attr(kPositions)));
}

// The totals of x and of its squares at `sum` and `sum` + 1, and the count: N below 2^44, both
// terms of D below 2^124.
inline bool require_totals(Check& check, int sum, int count) {
  const Type& s = check.in[static_cast<size_t>(sum)];
  for (const int i : {sum, sum + 1, count}) {
    if (!check.require_dtype(i, {DType::i64}) || !check.require_shared(i)) return false;
  }
  if (!check.require_rank(sum, 1, 1) || !require_channels(check, sum + 1, s.dims[0]) ||
      !require_fraction_bits(check, sum + 1, 2 * s.fraction_bits) ||
      !check.require_rank(count, 0, 0)) {
    return false;
  }
  if (check.in[static_cast<size_t>(count)].fraction_bits != 0) {
    return check.fail(Status::bad_type, "count must have 0 fraction bits, received %d",
                      check.in[static_cast<size_t>(count)].fraction_bits);
  }
  const int n = count_bits(check, count);
  if (n > kMostCountBits) {
    return check.fail(Status::unproved_bound,
                      "count * positions must have at most %d bits, it may have %d", kMostCountBits,
                      n);
  }
  const int squares = n + bit_length(check.in[static_cast<size_t>(sum) + 1].bound);
  const int64_t m = check.attr(kChannelEpsilonMultiplier);
  const int epsilon = m == 0 ? 0
                             : bit_length(static_cast<uint64_t>(m)) + 2 * n + 2 * s.fraction_bits -
                                   static_cast<int>(check.attr(kChannelEpsilonExponent));
  if (std::max(squares, epsilon) <= kSpreadBits) return true;
  return check.fail(Status::unproved_bound,
                    "variance and epsilon must have at most %d bits, they may have %d", kSpreadBits,
                    std::max(squares, epsilon));
}

inline bool require_bits(Check& check, int bits, int most) {
  if (bits <= most) return true;
  return check.fail(Status::unproved_bound,
                    "dividends and divisors must have at most %d bits, they may have %d", most,
                    bits);
}

}  // namespace gvm
