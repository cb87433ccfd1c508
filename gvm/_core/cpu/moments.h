// What adaptive updates share: mean gradients and the root of their mean square, block by block.
#pragma once

#include "cpu/optimizer.h"
#include "isqrt.h"
#include "rate.h"

namespace gvm {

constexpr int kFiner = 8;                          // bits of a mean gradient beyond its moments
constexpr int kRootBits = kFiner + kBetaBits / 2;  // and of a root
constexpr int64_t kBetaOne = int64_t{1} << kBetaBits;

// Mean gradients of a step, at 8 more fraction bits than `moment`, clamped to 8 more bits.
class MeanGradient {
 public:
  MeanGradient(const Call& call, const Tensor& total, const Type& moment, int64_t count)
      : call_(call),
        total_(total.as<int64_t>()),
        bits_(8 * static_cast<int>(dtype_bytes(moment.dtype)) + kFiner),
        up_(std::max(0, moment.fraction_bits + kFiner - total.type.fraction_bits)),
        divisor_(count, std::max(0, total.type.fraction_bits - moment.fraction_bits - kFiner)) {}

  // The means of elements [begin, begin + n), n <= kUpdateBlock.
  void block(int64_t begin, int64_t n, int64_t* mean, int64_t* clamps) const {
    const int64_t* g = total_ + begin;
    if (divisor_.lanes && largest_bits(g, n) <= 61 - up_) {
      for (int64_t i = 0; i < n; ++i) {
        mean[i] = static_cast<int64_t>(static_cast<uint64_t>(g[i]) << up_);
      }
      call_.cpu->quotient.run(mean, n, divisor_.narrow, Rounding::nearest, nullptr, nullptr);
      for (int64_t i = 0; i < n; ++i) mean[i] = clamp_and_count(mean[i], bits_, clamps);
      return;
    }
    for (int64_t i = 0; i < n; ++i) {
      mean[i] = quotient_nearest(shl(from_int64(g[i]), up_), divisor_.wide, bits_, clamps);
    }
  }

 private:
  const Call& call_;
  const int64_t* total_;
  int bits_, up_;
  UpdateDivisor divisor_;
};

// A Convert of a state tensor from `more` extra fraction bits, at this site.
inline ConvertSite state_site(const Call& call, Rounding rounding, uint32_t site, int more) {
  ConvertSite where;
  where.shift = more;
  where.rounding = rounding;
  where.seed = call.seed;
  where.step = call.step;
  where.site = site;
  return where;
}

// floor of sqrt(beta * root^2 + (2^20 - beta) * mean^2), at 18 more fraction bits than the root, to
// 32 significant bits.
constexpr int64_t root_of_squares(int64_t root, int64_t mean, int64_t beta) {
  const Int128 kept = mul(mul(root, root), beta << (2 * kFiner));
  const Int128 square = add(kept, mul(mul(mean, mean), kBetaOne - beta));
  const int length = bit_length(to_unsigned(square));
  const int k = length > 64 ? (length - 63) / 2 : 0;
  return static_cast<int64_t>(isqrt64_by_division(shr(square, 2 * k).lo) << k);
}

// out = the next root of elements [begin, begin + n).
template <typename M>
void next_root(const Call& call, const M* root, const int64_t* mean, int64_t beta,
               const ConvertSite& where, int64_t begin, int64_t n, M* out, int64_t* clamps) {
  int64_t exact[kUpdateBlock];
  for (int64_t i = 0; i < n; ++i) exact[i] = root_of_squares(root[begin + i], mean[i], beta);
  *clamps += call.cpu->convert.run[2][sizeof(M) == 2 ? 0 : 1](
      exact, n, where, static_cast<uint64_t>(call.first + begin), out + begin);
}

// w - numerator / divisor, rounded once; |numerator| and |w * divisor| below 2^125.
constexpr int64_t minus_quotient(int64_t w, Int128 numerator, Int128 divisor, Rounding rounding,
                                 uint32_t r, int bits, int64_t* clamps) {
  if (fits_int64(numerator) && fits_int64(divisor)) {
    const int64_t N = static_cast<int64_t>(numerator.lo), D = static_cast<int64_t>(divisor.lo);
    if (N > -(int64_t{1} << 62) && N < (int64_t{1} << 62)) {
      const int64_t truncated = -N / D, rest = -N % D;
      const int64_t q = truncated - (rest < 0 ? 1 : 0) + w;
      const int64_t remainder = rest + (rest < 0 ? D : 0);
      const bool up =
          rounding == Rounding::nearest
              ? remainder > D - remainder || (remainder == D - remainder && (q & 1) != 0)
              : scale_by_random(static_cast<uint64_t>(D), r) < static_cast<uint64_t>(remainder);
      return clamp_and_count(q + (up ? 1 : 0), bits, clamps);
    }
  }
  return quotient(sub(mul(divisor, w), numerator), divisor, rounding, r, bits, clamps);
}

// w - moved / divisor - decayed / 2^32, rounded once; |moved| and |w * divisor| below 2^93,
// |decayed| below 2^62. One division of 64 bits where that does: the remainders of both parts are
// added over the divisor of both, divisor * 2^32.
constexpr int64_t minus_decayed_quotient(int64_t w, Int128 moved, Int128 divisor, int64_t decayed,
                                         Rounding rounding, uint32_t r, int bits, int64_t* clamps) {
  if (fits_int64(moved) && fits_int64(divisor)) {
    const int64_t N = static_cast<int64_t>(moved.lo), D = static_cast<int64_t>(divisor.lo);
    constexpr int64_t kLimit = int64_t{1} << 62;
    if (N > -kLimit && N < kLimit && D > 0 && D < kLimit) {
      const int64_t truncated = -N / D, rest = -N % D;
      const uint64_t remainder = static_cast<uint64_t>(rest + (rest < 0 ? D : 0));
      const uint64_t part = static_cast<uint64_t>(-decayed) & 0xffffffffu;
      const UInt128 whole = shl(UInt128{static_cast<uint64_t>(D), 0}, 32);
      UInt128 both =
          add(shl(UInt128{remainder, 0}, 32), mul_unsigned(static_cast<uint64_t>(D), part));
      int64_t q = w + truncated - (rest < 0 ? 1 : 0) + (-decayed >> 32);
      if (compare(both, whole) >= 0) {
        both = sub(both, whole);
        ++q;
      }
      const int order = compare(shl(both, 1), whole);
      const bool up = rounding == Rounding::nearest
                          ? order > 0 || (order == 0 && (q & 1) != 0)
                          : compare(mul_unsigned(static_cast<uint64_t>(D), r), both) < 0;
      return clamp_and_count(q + (up ? 1 : 0), bits, clamps);
    }
  }
  const Int128 numerator = add(shl(moved, 32), mul(divisor, decayed));
  return minus_quotient(w, numerator, shl(divisor, 32), rounding, r, bits, clamps);
}

}  // namespace gvm
