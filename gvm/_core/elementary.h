// Enclosures of elementary functions by integer arithmetic: the tables of numerics section 6 rest
// on them. Numbers are fixed-point: Big<N> with kBits = 32 (N - 3) fraction bits and 96 integer
// bits. "ulp" is 2^-kBits. Every product truncates (less than 1 ulp lost); each function states its
// bound.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bigint.h"
#include "tables.h"

namespace gvm {

// A real number strictly between low and high, both in ulp. Because the ends are excluded, a value
// that falls short of a tie by less than any precision (x + exp(-x) for large x) is still decided.
template <int N>
struct Enclosure {
  Big<N> low, high;
};

// Evaluates one function; holds what it needs of constants and tables.
template <int N>
class Evaluator {
 public:
  static constexpr int kBits = 32 * (N - 3);

  explicit Evaluator(UnaryFunction function) : function_(function) {
    make_constants();
    switch (function) {
      case UnaryFunction::log:
        make_logarithms();
        break;
      case UnaryFunction::softplus:
        make_logarithms();
        make_exponentials();
        break;
      case UnaryFunction::sin:
      case UnaryFunction::cos:
      case UnaryFunction::negative_sin:
        make_rotations();
        break;
      default:
        make_exponentials();
    }
  }

  // The function at q * 2^-scale, |q| <= 2^15, scale in [-32, 48]. Not for the inputs whose result
  // is rational (q = 0 but for softplus, erf_derivative), nor for the algebraic functions.
  Enclosure<N> evaluate(int64_t q, int scale) {
    const bool positive = q > 0;
    const int64_t m = positive ? q : -q;  // t = |x| = m * 2^-scale
    const Fix x = shift_left(Fix::from(q), kBits - scale);
    switch (function_) {
      case UnaryFunction::exp: {
        if (positive && at_least(m, scale, 45)) return {power_of_two(64), power_of_two(65)};
        if (!positive && at_least(m, scale, kTail)) return above(zero_);
        int exponent = 0;
        const Fix value = exponential(x, &exponent);
        return around(shift(value, exponent), exponent > 0 ? 16 + exponent : 17);
      }
      case UnaryFunction::log: {
        const int length = Fix::from(q).bit_length();
        const Fix mantissa = shift_left(Fix::from(q), kBits - length + 1);
        return around(log_of_mantissa(mantissa) + multiple(ln2_, length - 1 - scale), 13);
      }
      case UnaryFunction::tanh: {
        if (at_least(m, scale - 1, kTail)) return positive ? below(one_) : above(-one_);
        const Fix v = exp_minus(m, scale - 1);
        return around(signed_as(positive, product(one_ - v, reciprocal(one_ + v))), 19);
      }
      case UnaryFunction::logistic: {
        if (at_least(m, scale, kTail)) return positive ? below(one_) : above(zero_);
        const Fix u = exp_minus(m, scale);
        const Fix y = reciprocal(one_ + u);
        return around(positive ? y : product(u, y), 19);
      }
      case UnaryFunction::erf: {
        if (at_least(m * m, 2 * scale, kTail)) return positive ? below(one_) : above(-one_);
        return around(signed_as(positive, product(gauss(m, scale), two_over_sqrt_pi_)), 26);
      }
      case UnaryFunction::gelu: {
        if (at_least(m * m, 2 * scale + 1, kTail)) return positive ? below(x) : below(zero_);
        return around(signed_as(positive, multiply(normal(positive, m, scale), m, scale)), 31);
      }
      case UnaryFunction::silu: {
        if (at_least(m, scale, kTail)) return positive ? below(x) : below(zero_);
        const Fix u = exp_minus(m, scale);
        const Fix y = reciprocal(one_ + u);
        const Fix value = multiply(positive ? y : product(u, y), m, scale);
        return around(signed_as(positive, value), 30);
      }
      case UnaryFunction::softplus: {
        if (m == 0) return around(ln2_, 2);
        const Fix base = positive ? x : zero_;
        if (at_least(m, scale, kTail)) return above(base);
        return around(base + log_of_mantissa(one_ + exp_minus(m, scale)), 18);
      }
      case UnaryFunction::sin:
        return around(signed_as(positive, sine(m, scale, 0)), 14);
      case UnaryFunction::negative_sin:
        return around(signed_as(!positive, sine(m, scale, 0)), 14);
      case UnaryFunction::cos:
        return around(sine(m, scale, 1), 14);
      case UnaryFunction::tanh_derivative: {
        if (at_least(m, scale - 1, kTail)) return above(zero_);
        const Fix v = exp_minus(m, scale - 1);
        const Fix y = reciprocal(one_ + v);
        return around(shift_left(product(v, product(y, y)), 2), 23);
      }
      case UnaryFunction::logistic_derivative: {
        if (at_least(m, scale, kTail)) return above(zero_);
        const Fix u = exp_minus(m, scale);
        const Fix y = reciprocal(one_ + u);
        return around(product(u, product(y, y)), 21);
      }
      case UnaryFunction::silu_derivative: {
        // s + x s (1 - s), s the logistic function; past the tail it overshoots 1, undershoots 0.
        if (at_least(m, scale, kTail)) return positive ? above(one_) : below(zero_);
        const Fix u = exp_minus(m, scale);
        const Fix y = reciprocal(one_ + u);
        const Fix slope = multiply(product(u, product(y, y)), m, scale);
        return around(positive ? y + slope : product(u, y) - slope, 32);
      }
      case UnaryFunction::erf_derivative: {
        if (at_least(m * m, 2 * scale, kTail)) return above(zero_);
        return around(product(exp_minus(m * m, 2 * scale), two_over_sqrt_pi_), 19);
      }
      case UnaryFunction::gelu_derivative: {
        // Phi(x) + x phi(x), of the normal distribution; overshoots like silu's.
        if (at_least(m * m, 2 * scale + 1, kTail)) return positive ? above(one_) : below(zero_);
        const Fix density = product(exp_minus(m * m, 2 * scale + 1), one_over_sqrt_two_pi_);
        const Fix slope = multiply(density, m, scale);
        const Fix cumulative = normal(positive, m, scale);
        return around(positive ? cumulative + slope : cumulative - slope, 31);
      }
      default:  // the algebraic functions, which are rounded exactly
        return {-power_of_two(65), power_of_two(65)};
    }
  }

 private:
  using Fix = Big<N>;
  using Wide = Big<N + 2>;    // 64 more fraction bits: constants
  using Double = Big<2 * N>;  // dividends
  static constexpr int kWideBits = kBits + 64;
  // exp(-t) * t^2 < 1 ulp for t >= kTail: exp(-3/4 kBits) = 2^(-1.08 kBits).
  static constexpr int kTail = kBits / 4 * 3;
  static constexpr int kGaussTerms = kBits / 6;

  static Fix power_of_two(int exponent) { return shift_left(Fix::from(1), kBits + exponent); }
  static Enclosure<N> above(const Fix& a) { return {a, a + Fix::from(1)}; }
  static Enclosure<N> below(const Fix& a) { return {a - Fix::from(1), a}; }
  // The value differs from `a` by less than 2^error_bits ulp.
  static Enclosure<N> around(const Fix& a, int error_bits) {
    const Fix error = shift_left(Fix::from(1), error_bits);
    return {a - error, a + error};
  }
  static Fix signed_as(bool positive, const Fix& a) { return positive ? a : -a; }
  static Fix product(const Fix& a, const Fix& b) { return multiply_shifted(a, b, N - 3); }
  // a * m * 2^-scale for a >= 0, m < 2^32; loses less than 1 ulp.
  static Fix multiply(const Fix& a, int64_t m, int scale) {
    return shift(multiply_small(a, static_cast<uint32_t>(m)), -scale);
  }
  static Fix multiple(const Fix& a, int count) {
    return signed_as(count >= 0,
                     multiply_small(a, static_cast<uint32_t>(count < 0 ? -count : count)));
  }
  static Fix narrow(const Wide& a) {
    Fix r;
    for (int i = 0; i < N; ++i) r.limb[i] = a.limb[i + 2];
    return r;
  }
  static Double widen(const Fix& a) {
    Double r = Double::from(0);
    for (int i = 0; i < N; ++i) r.limb[i] = a.limb[i];
    return r;
  }
  static int64_t floor_at(const Fix& a, int bits) { return shift_right(a, kBits - bits).low64(); }

  // m * 2^-scale >= bound, for 0 <= m <= 2^30, scale in [-64, 97], bound < 2^10.
  static bool at_least(int64_t m, int scale, int64_t bound) {
    if (m == 0 || scale >= 50) return false;
    if (scale >= 0) return m >= bound << scale;
    return scale <= -10 || m << -scale >= bound;
  }

  // Sum of (+-1)^k / ((2k + 1) m^(2k + 1)): atanh(1/m), or atan(1/m) with alternating signs. Less
  // than 2 kBits wide units lost.
  static Wide inverse_tangent(uint32_t m, bool alternating) {
    Wide power = divide_small(shift_left(Wide::from(1), kWideBits), m);
    Wide sum = power;
    for (uint32_t k = 1; !power.zero(); ++k) {
      power = divide_small(divide_small(power, m), m);
      const Wide term = divide_small(power, 2 * k + 1);
      sum = alternating && k % 2 == 1 ? sum - term : sum + term;
    }
    return sum;
  }

  // 2^kBits * 2^(2 kBits) / sqrt(square), rounded down, square at 2 kBits fraction bits.
  static Fix over_root(const Double& square, int numerator_exponent) {
    bool exact = false;
    const Double root = square_root(square, &exact);
    Double rest;
    const Double q =
        divide(shift_left(Double::from(1), 2 * kBits + numerator_exponent), root, &rest);
    Fix r;
    for (int i = 0; i < N; ++i) r.limb[i] = q.limb[i];
    return r;
  }

  void make_constants() {
    zero_ = Fix::from(0);
    one_ = power_of_two(0);
    ln2_ = narrow(shift_left(inverse_tangent(3, false), 1));
    // Machin: pi = 16 atan(1/5) - 4 atan(1/239).
    const Wide pi =
        shift_left(inverse_tangent(5, true), 4) - shift_left(inverse_tangent(239, true), 2);
    half_pi_ = shift_right(pi, 1);
    Double square = Double::from(0);  // pi at 2 kBits fraction bits
    for (int i = 0; i < N + 2; ++i) square.limb[i] = pi.limb[i];
    square = shift(square, 2 * kBits - kWideBits);
    two_over_sqrt_pi_ = over_root(square, 1);
    one_over_sqrt_two_pi_ = over_root(shift_left(square, 1), 0);
    inverse_factorial_.push_back(one_);
    for (uint32_t i = 1; i <= kBits / 8 + 4; ++i) {
      inverse_factorial_.push_back(divide_small(inverse_factorial_.back(), i));
    }
  }

  // ---- exp

  // exp(a) for 0 <= a <= 2^-8; `terms` such that a^(terms + 1) < 1 ulp. Less than 4 ulp lost.
  Fix exponential_series(const Fix& a, int terms) const {
    Fix sum = inverse_factorial_[static_cast<std::size_t>(terms)];
    for (int i = terms - 1; i >= 0; --i) {
      sum = inverse_factorial_[static_cast<std::size_t>(i)] + product(sum, a);
    }
    return sum;
  }

  // exp(i / 2^8) and exp(i / 2^16), i < 256, by repeated products: less than 2^13 ulp lost.
  void make_exponentials() {
    const Fix step1 = exponential_series(power_of_two(-8), kBits / 8);
    const Fix step2 = exponential_series(power_of_two(-16), kBits / 16);
    exponential1_.assign(1, one_);
    exponential2_.assign(1, one_);
    for (int i = 1; i < 256; ++i) {
      exponential1_.push_back(product(exponential1_.back(), step1));
      exponential2_.push_back(product(exponential2_.back(), step2));
    }
  }

  // exp(a) = result * 2^exponent with result in [1, 2), for exact |a| < 700. Less than 2^16 ulp.
  Fix exponential(const Fix& a, int* exponent) const {
    // floor(2^20 a) * (2^20 / ln 2) * 2^-40; at most one step beside floor(a / ln 2).
    int k = static_cast<int>((floor_at(a, 20) * 1512775) >> 40);
    Fix rest = a - multiple(ln2_, k);
    for (; rest.negative(); --k) rest = rest + ln2_;
    for (; compare(rest, ln2_) >= 0; ++k) rest = rest - ln2_;
    *exponent = k;
    const int64_t index = floor_at(rest, 16);
    rest = rest - shift_left(Fix::from(index), kBits - 16);
    const Fix high = exponential1_[static_cast<std::size_t>(index >> 8)];
    const Fix low = exponential2_[static_cast<std::size_t>(index & 255)];
    return product(product(high, low), exponential_series(rest, kBits / 16));
  }

  // exp(-m * 2^-scale), exponent < 700. Less than 2^17 ulp.
  Fix exp_minus(int64_t m, int scale) const {
    int exponent = 0;
    const Fix value = exponential(-shift_left(Fix::from(m), kBits - scale), &exponent);
    return shift(value, exponent);
  }

  // 1 / a for a in [1, 2], by Newton's steps from 29 right bits. Less than 4 ulp.
  Fix reciprocal(const Fix& a) const {
    const int64_t estimate = (int64_t{1} << 62) / floor_at(a, 31);
    Fix y = shift_left(Fix::from(estimate), kBits - 31);
    for (int bits = 29; bits < kBits; bits *= 2) y = y + product(y, one_ - product(a, y));
    return y;
  }

  // ---- log

  // -log(c / 2^30) = 2 atanh((2^30 - c) / (2^30 + c)) for c in [2^29, 2^30 * 1.01]. Less than 2^10
  // ulp.
  static Fix minus_log(uint32_t c) {
    const uint32_t whole = uint32_t{1} << 30;
    const bool positive = c <= whole;
    const uint32_t p = positive ? whole - c : c - whole;
    const uint32_t q = whole + c;
    Fix power = divide_small(multiply_small(power_of_two(1), p), q);
    Fix sum = power;
    for (uint32_t k = 1; !power.zero(); ++k) {
      power = divide_small(multiply_small(power, p), q);
      power = divide_small(multiply_small(power, p), q);
      sum = sum + divide_small(power, 2 * k + 1);
    }
    return signed_as(positive, sum);
  }

  // Multipliers that bring a mantissa within 2^-8, then 2^-16, of 1, and what they add to its log.
  void make_logarithms() {
    for (uint64_t i = 0; i < 256; ++i) {
      multiplier1_.push_back(static_cast<uint32_t>((uint64_t{1} << 39) / (513 + 2 * i)));
      logarithm1_.push_back(minus_log(multiplier1_.back()));
    }
    for (uint64_t j = 0; j < 512; ++j) {
      multiplier2_.push_back(
          static_cast<uint32_t>((uint64_t{1} << 47) / ((1 << 17) + 2 * j - 511)));
      logarithm2_.push_back(minus_log(multiplier2_.back()));
    }
    for (uint32_t i = 1; i <= kBits / 15 + 1; ++i) inverse_.push_back(divide_small(one_, i));
  }

  // log(a), a in [1, 2). Less than 2^12 ulp.
  Fix log_of_mantissa(const Fix& a) const {
    const std::size_t i = static_cast<std::size_t>(floor_at(a, 8) - 256);
    Fix z = multiply(a, multiplier1_[i], 30);
    const std::size_t j = static_cast<std::size_t>(floor_at(z, 16) - 65536 + 256);
    z = multiply(z, multiplier2_[j], 30) - one_;
    Fix sum = inverse_.back();
    for (std::size_t k = inverse_.size() - 1; k-- > 0;) sum = inverse_[k] - product(z, sum);
    return logarithm1_[i] + logarithm2_[j] + product(z, sum);
  }

  // ---- sin, cos

  // For 0 <= b <= 2^-8. Less than 4 ulp each.
  void rotation_series(const Fix& b, Fix* sin_b, Fix* cos_b) const {
    const Fix square = product(b, b);
    *sin_b = *cos_b = zero_;
    for (int i = kBits / 16; i >= 0; --i) {
      *sin_b = inverse_factorial_[static_cast<std::size_t>(2 * i + 1)] - product(*sin_b, square);
      *cos_b = inverse_factorial_[static_cast<std::size_t>(2 * i)] - product(*cos_b, square);
    }
    *sin_b = product(*sin_b, b);
  }

  // sin(i / 2^8), cos(i / 2^8) up to pi / 4 by repeated rotation: less than 2^12 ulp lost.
  void make_rotations() {
    Wide rest;
    const Big<2 * N + 4> dividend = shift_left(Big<2 * N + 4>::from(1), 2 * kWideBits);
    Big<2 * N + 4> divisor = Big<2 * N + 4>::from(0);
    for (int i = 0; i < N + 2; ++i) divisor.limb[i] = half_pi_.limb[i];
    Big<2 * N + 4> remainder;
    const Big<2 * N + 4> quotient = divide(dividend, divisor, &remainder);
    for (int i = 0; i < N + 2; ++i) rest.limb[i] = quotient.limb[i];
    over_half_pi_ = rest;
    Fix sin_step, cos_step;
    rotation_series(power_of_two(-8), &sin_step, &cos_step);
    sine_.assign(1, zero_);
    cosine_.assign(1, one_);
    for (int i = 1; i <= 202; ++i) {
      const Fix s = sine_.back(), c = cosine_.back();
      sine_.push_back(product(s, cos_step) + product(c, sin_step));
      cosine_.push_back(product(c, cos_step) - product(s, sin_step));
    }
  }

  // sin(m * 2^-scale + quarter_turns * pi / 2). Less than 2^14 ulp: the multiple of pi / 2, up to
  // 2^47, is taken with 64 more bits.
  Fix sine(int64_t m, int scale, int quarter_turns) const {
    const Wide x = shift_left(Wide::from(m), kWideBits - scale);
    const Wide turns = multiply_shifted(x, over_half_pi_, N - 1);
    const Wide half = shift_left(Wide::from(1), kWideBits - 1);
    const int64_t k = shift_right(turns + half, kWideBits).low64();
    const Wide reduced = x - multiply_shifted(half_pi_, Wide::from(k), 0);
    const bool positive = !reduced.negative();
    const Fix r = narrow(positive ? reduced : -reduced);
    const int64_t i = floor_at(r, 8);
    Fix sin_b, cos_b;
    rotation_series(r - shift_left(Fix::from(i), kBits - 8), &sin_b, &cos_b);
    const Fix s = sine_[static_cast<std::size_t>(i)], c = cosine_[static_cast<std::size_t>(i)];
    const int64_t quarter = k + quarter_turns;
    const Fix value = (quarter & 1) == 0
                          ? signed_as(positive, product(s, cos_b) + product(c, sin_b))
                          : product(c, cos_b) - product(s, sin_b);
    return (quarter & 2) == 0 ? value : -value;
  }

  // ---- the integral of exp(-c t^2), c = 1 for erf and 1/2 for gelu

  // Coefficients of the integral's expansion around a = j / 64. With g(h) = exp(-c (a + h)^2),
  // g' = -2c (a + h) g, hence (n + 1) g_(n+1) = -2c (a g_n + g_(n-1)); |g_n| < 3 for all n.
  void expand_gauss(int64_t j) {
    if (j == expanded_) return;
    expanded_ = j;
    const int c_shift = function_ == UnaryFunction::erf ? 0 : 1;  // c = 2^-c_shift
    expansion_.clear();
    Fix before = zero_;
    Fix current = exp_minus(j * j, 12 + c_shift);
    for (uint32_t n = 0; n <= kGaussTerms; ++n) {
      expansion_.push_back(divide_small(current, n + 1));
      const Fix slope = shift_right(multiply_small(current, static_cast<uint32_t>(j)), 5 + c_shift);
      const Fix ahead = divide_small(-(slope + before), n + 1);
      before = shift_left(current, 1 - c_shift);
      current = ahead;
    }
  }

  // The integral over [a, a + m * 2^-scale], a step of at most 1/64.
  Fix gauss_step(int64_t m, int scale) const {
    Fix sum = zero_;
    for (std::size_t n = expansion_.size(); n-- > 0;) {
      sum = expansion_[n] + shift_right(multiply_small(sum, static_cast<uint32_t>(m)), scale);
    }
    return shift_right(multiply_small(sum, static_cast<uint32_t>(m)), scale);
  }

  // The integral over [0, m * 2^-scale], below the tail (at most 2^11 steps of 1/64). Each step
  // loses less than 2^13 ulp, mostly the error of its exp times 1/64; less than 2^24 in all.
  Fix gauss(int64_t m, int scale) {
    const int64_t j = scale >= 6 ? m >> (scale - 6) : m << (6 - scale);
    if (integral_.empty()) integral_.push_back(zero_);
    while (static_cast<int64_t>(integral_.size()) <= j) {
      expand_gauss(static_cast<int64_t>(integral_.size()) - 1);
      integral_.push_back(integral_.back() + gauss_step(1, 6));
    }
    const Fix whole = integral_[static_cast<std::size_t>(j)];
    const int64_t rest = scale > 6 ? m - (j << (scale - 6)) : 0;
    if (rest == 0) return whole;
    expand_gauss(j);
    return whole + gauss_step(rest, scale);
  }

  // The normal distribution's Phi(+-m * 2^-scale). Less than 2^24 ulp.
  Fix normal(bool positive, int64_t m, int scale) {
    const Fix part = product(gauss(m, scale), one_over_sqrt_two_pi_);
    const Fix half = power_of_two(-1);
    return positive ? half + part : half - part;
  }

  UnaryFunction function_;
  Fix zero_, one_, ln2_, two_over_sqrt_pi_, one_over_sqrt_two_pi_;
  Wide half_pi_, over_half_pi_;
  std::vector<Fix> inverse_factorial_, inverse_;
  std::vector<Fix> exponential1_, exponential2_;
  std::vector<uint32_t> multiplier1_, multiplier2_;
  std::vector<Fix> logarithm1_, logarithm2_;
  std::vector<Fix> sine_, cosine_;
  std::vector<Fix> integral_, expansion_;
  int64_t expanded_ = -1;
};

}  // namespace gvm
