// The velocity of momentum: (momentum * v / 2^bits) - rate * g / (count * 2^t), rounded once.
#pragma once

#include "cpu/optimizer.h"

namespace gvm {

// The same for all elements of a step. Arguments as ops/momentum.cc allows them, t being exponent +
// F(gradient) - F(velocity); 1 <= count <= kMaxUpdateCount.
struct Momentum {
  Momentum(int64_t count, int64_t rate, int64_t momentum, int bits, int64_t t, Rounding rounding)
      : scale(static_cast<int>(std::max<int64_t>({bits, t, 0}))),
        up(static_cast<int>(scale - t)),
        divisor(count, scale),
        keep(shl(mul(momentum, count), scale - bits)) {
    // Both parts of a numerator stay within 2^61 where gradient and velocity have so few bits.
    terms.rate = rate;
    terms.keep = static_cast<int64_t>(keep.lo);
    terms.up = up;
    terms.gradient_room = 61 - up - bit_length(static_cast<uint64_t>(rate));
    terms.velocity_room = 61 - bit_length(to_unsigned(keep));
    multiplies_ = divisor.lanes && multiply(count, momentum, bits, t, rounding);
  }

  Int128 numerator(int64_t g, int64_t v) const {
    return sub(mul(keep, v), shl(mul(g, terms.rate), up));
  }

  // UpdateKernels::velocities, or -1 where that is not to be had.
  template <typename V>
  int64_t products(const UpdateKernels& update, const int64_t* g, const V* v, int64_t n,
                   const uint32_t* r, V* out) const {
    if (!multiplies_ || update.velocities == nullptr) return -1;
    return update.velocities(velocity_, g, v, static_cast<int>(sizeof(V)), n, r, out);
  }

  int scale, up;  // a numerator is momentum * v * count * 2^(scale - bits) - rate * g * 2^up
  UpdateDivisor divisor;
  Int128 keep;
  UpdateTerms terms = {};

 private:
  // The factors of velocity_; false where they do not fit.
  bool multiply(int64_t count, int64_t momentum, int bits, int64_t t, Rounding rounding) {
    const int64_t rate = terms.rate;
    if (bits > 31 || momentum < 0 || momentum >= int64_t{1} << bits || rate < 0 ||
        rate >= int64_t{1} << 32) {
      return false;
    }
    // rate * 2^e / count in [2^61, 2^62), rounded down.
    int64_t scaled = 0, e = 63;
    if (rate != 0) {
      const int first = 62 - bit_length(static_cast<uint64_t>(rate));
      const int64_t q = (rate << first) / count, rest = (rate << first) % count;
      const int more = 62 - bit_length(static_cast<uint64_t>(q));
      scaled = (q << more) + (rest << more) / count;
      e = first + more;
    }
    const int64_t right = e - 63 + t;
    if (right < 0) return false;
    velocity_ = {terms, divisor.narrow, rounding, 0, 0, 0, 0};
    velocity_.kept = static_cast<int32_t>(momentum << (31 - bits));
    velocity_.high = static_cast<int32_t>(scaled >> 31);
    velocity_.low = static_cast<int32_t>(scaled & 0x7fffffff);
    velocity_.right = static_cast<int>(std::min<int64_t>(right, 63));
    // Either part of a velocity stays within 2^29: the first by v, the second by g.
    velocity_.exact.velocity_room = std::min(terms.velocity_room, 29);
    velocity_.exact.gradient_room =
        static_cast<int>(std::min<int64_t>({terms.gradient_room, 31, right + 30}));
    return velocity_.exact.gradient_room >= 0;
  }

  VelocityTerms velocity_ = {};
  bool multiplies_ = false;
};

}  // namespace gvm
