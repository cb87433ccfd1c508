// Lines of channels (numerics section 7): their coefficients, and rows along them, rounded once.
#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "cpu/gemm.h"
#include "cpu/linear.h"
#include "cpu/strided.h"
#include "isqrt.h"
#include "ops/batch_normalization.h"

namespace gvm {

constexpr int kLineBits = 16;  // with which a line is kept beyond its result
constexpr int kSlopeBits = 31;
constexpr int64_t kMostIntercept = int64_t{1} << 61;
constexpr int64_t kLineBlock = 512;  // elements of a row held between line and convert

// t and r of D.
struct ChannelRoot {
  int shift;
  uint32_t root;
};

constexpr ChannelRoot channel_root(Int128 whole) {
  const int t = (2 * kChannelRootBits - bit_length(to_unsigned(whole))) >> 1;
  const Int128 scaled = t >= 0 ? shl(whole, 2 * t) : shr(whole, -2 * t);
  return {t, static_cast<uint32_t>(isqrt64_by_division(scaled.lo))};
}

// N, s, V, D, t and r of a channel from its totals.
struct ChannelTotals {
  int64_t count, sum;
  Int128 spread, whole;
  ChannelRoot root;
};

constexpr int64_t within(int64_t v, int64_t limit) { return std::min(std::max(v, -limit), limit); }

constexpr ChannelTotals channel_totals(const ChannelRule& rule, int64_t sum, int64_t squares,
                                       int64_t count, int fraction_bits) {
  ChannelTotals c = {};
  c.count = std::max<int64_t>(1, count) * rule.positions;
  c.sum = within(sum, c.count << kXBits);
  c.spread = sub(mul(squares, c.count), mul(c.sum, c.sum));
  if (is_negative(c.spread)) c.spread = {0, 0};
  const UInt128 epsilon = channel_epsilon(rule, c.count, 2 * fraction_bits);
  c.whole = add(c.spread, to_signed(epsilon));
  c.root = channel_root(c.whole);
  return c;
}

// Element i of an i16 or i32 tensor.
inline int64_t integer_at(const Tensor& t, int64_t i) {
  return t.type.dtype == DType::i16 ? int64_t{t.as<int16_t>()[i]} : int64_t{t.as<int32_t>()[i]};
}

// N / D to nearest, D > 0, held to 64 bits.
constexpr int64_t nearest_ratio(Int128 N, Int128 D) {
  int64_t clamps = 0;
  return quotient_nearest(N, D, 64, &clamps);
}

struct Slope {
  int64_t slope;
  int shift;
};

// factor * 2^places / root to nearest at e more fraction bits, and e: at most `most`, and such that
// it stays below 2^(31 - wider).
constexpr Slope slope_of(Int128 factor, int places, uint32_t root, int most, int wider) {
  const UInt128 magnitude = to_unsigned(is_negative(factor) ? neg(factor) : factor);
  const int size = bit_length(magnitude) + places - (kChannelRootBits - 1);
  const int e = std::min(most, std::max(0, kSlopeBits - size - wider));
  const int64_t limit = limit_max(32);
  if (size + e > kSlopeBits) return {is_negative(factor) ? -limit : limit, e};
  if (size + e < 0) return {0, e};
  const int up = places + e;
  const Int128 divisor = shl(from_int64(root), std::max(0, -up));
  return {within(nearest_ratio(shl(factor, std::max(0, up)), divisor), limit), e};
}

// value * 2^places to nearest for |value| <= 2^31, held to twice an intercept's limit.
constexpr int64_t at_places(int64_t value, int places) {
  int64_t clamps = 0;
  if (places < 0) return round_nearest(value, -places);
  return within(shift_left_saturating(value, -places, 64, &clamps), 2 * kMostIntercept);
}

constexpr int64_t with_half(int64_t intercept, int shift) {
  return within(intercept, kMostIntercept) + ((int64_t{1} << shift) >> 1);
}

constexpr int most_shift(DType to) { return to == DType::i16 ? 29 : 13; }

// The lines of all channels, repeated so that any kLineBlock elements of a row from some channel on
// find theirs side by side.
class Lines {
 public:
  Lines(int64_t channels, bool two)
      : channels_(channels),
        slope_(static_cast<size_t>(channels + kLineBlock)),
        slope_2_(two ? slope_.size() : 0),
        intercept_(slope_.size()),
        shift_(slope_.size()) {}

  void set(int64_t channel, const Slope& slope, int64_t slope_2, int64_t intercept) {
    for (size_t i = static_cast<size_t>(channel); i < slope_.size();
         i += static_cast<size_t>(channels_)) {
      slope_[i] = static_cast<int32_t>(slope.slope);
      if (!slope_2_.empty()) slope_2_[i] = static_cast<int32_t>(slope_2);
      intercept_[i] = with_half(intercept, slope.shift);
      shift_[i] = slope.shift;
    }
  }

  // out = the lines of x, and of x_2 where there are two slopes, rounded at the site of the call.
  void run(const Call& call, const int16_t* x, const int16_t* x_2, Rounding rounding) const {
    const Tensor& out = call.out[0];
    const IndexMap index = index_map(out.type, call.batch);
    const ConvertRun convert = convert_run(*call.cpu, DType::i64, out.type.dtype);
    const int64_t bytes = dtype_bytes(out.type.dtype);
    ConvertSite site;
    site.shift = kLineBits;
    site.rounding = rounding;
    site.seed = call.seed;
    site.step = call.step;
    site.site = call.site;
    std::atomic<int64_t> clamps{0};
    for_ranges(call, out.elements, kGrain, [&](int64_t begin, int64_t end) {
      int64_t held[kLineBlock], clamped = 0;
      for (; begin < end; begin += kLineBlock) {
        const int64_t n = std::min(kLineBlock, end - begin);
        const size_t at = static_cast<size_t>(begin % channels_);
        call.cpu->rows.line(x + begin, slope_.data() + at, x_2 == nullptr ? nullptr : x_2 + begin,
                            slope_2_.data() + (slope_2_.empty() ? 0 : at), intercept_.data() + at,
                            shift_.data() + at, n, held);
        clamped += convert_elements(convert, held, sizeof(int64_t), out.as<char>() + begin * bytes,
                                    bytes, begin, n, site, index);
      }
      clamps += clamped;
    });
    *call.clamps += clamps;
  }

 private:
  int64_t channels_;
  std::vector<int32_t> slope_, slope_2_;
  std::vector<int64_t> intercept_, shift_;
};

}  // namespace gvm
