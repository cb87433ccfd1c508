// The learning rate of a step, what decay takes from a weight, and the bias correction of Adam:
// integers that an update derives from the number of the step (docs/arithmetic.md, section 8).
#pragma once

#include <algorithm>
#include <vector>

#include "fixed.h"

namespace gvm {

constexpr int kRateBits = 24;

// The rate of a step: linear between knots (ascending steps), half to even; constant outside.
inline int64_t rate_at(const std::vector<int64_t>& steps, const std::vector<int64_t>& rates,
                       uint64_t step) {
  const auto next = std::upper_bound(
      steps.begin(), steps.end(), step,
      [](uint64_t value, int64_t knot) { return value < static_cast<uint64_t>(knot); });
  if (next == steps.begin()) return rates.front();
  if (next == steps.end()) return rates.back();
  const size_t i = static_cast<size_t>(next - steps.begin());
  const int64_t now = static_cast<int64_t>(step);
  const int64_t before = now - steps[i - 1], after = steps[i] - now;
  int64_t clamps = 0;
  const Int128 sum = add(mul(rates[i - 1], after), mul(rates[i], before));
  return quotient_nearest(sum, from_int64(before + after), kRateBits + 1, &clamps);
}

// rate * decay * 2^-(exponents) at 32 fraction bits, half to even, below 1.
inline int64_t decay_at(int64_t rate, int64_t decay, int64_t exponents) {
  constexpr int64_t kMost = (int64_t{1} << 32) - 1;
  const int64_t exact = rate * decay, shift = exponents - 32;
  if (shift > 0) return std::min(round_nearest(exact, static_cast<int>(shift)), kMost);
  int64_t clamps = 0;
  return std::min(shift_left_saturating(exact, static_cast<int>(shift), 64, &clamps), kMost);
}

constexpr int kBetaBits = 20;
constexpr int kPowerBits = 40;

// (beta * 2^-20)^exponent at 40 fraction bits, by squaring, each product rounded half up.
constexpr int64_t power_of_beta(int64_t beta, uint64_t exponent) {
  int64_t result = int64_t{1} << kPowerBits, base = beta << (kPowerBits - kBetaBits);
  const Int128 half = from_int64(int64_t{1} << (kPowerBits - 1));
  for (; exponent != 0; exponent >>= 1) {
    if ((exponent & 1) != 0) {
      result = static_cast<int64_t>(shr(add(mul(result, base), half), kPowerBits).lo);
    }
    base = static_cast<int64_t>(shr(add(mul(base, base), half), kPowerBits).lo);
  }
  return result;
}

// rate * sqrt(1 - beta2^t) / (1 - beta1^t) for t = step + 1, to nearest; below 2^44.
constexpr int64_t corrected_rate(int64_t rate, int64_t beta1, int64_t beta2, uint64_t step) {
  const int64_t one = int64_t{1} << kPowerBits;
  const int64_t rest = one - power_of_beta(beta2, step + 1);
  const int64_t root = static_cast<int64_t>(isqrt(shl(from_int64(rest), kPowerBits)));
  int64_t clamps = 0;
  return quotient_nearest(mul(rate, root), from_int64(one - power_of_beta(beta1, step + 1)), 64,
                          &clamps);
}

}  // namespace gvm
