// The difference y - t that the mean squared error and its gradient are made of.
#pragma once

#include <algorithm>

#include "op.h"

namespace gvm {

constexpr int kWideBits = 126;  // magnitudes that 128-bit quotients take, with room for the sign

// y - t at `fraction_bits`, the larger of the two formats: y shifted left by y_shift, t by t_shift.
struct Difference {
  int fraction_bits, y_shift, t_shift;
  int bits;          // of its magnitude's bound
  int count_bits;    // of the elements of an example
  int64_t elements;  // of an example
};

inline Difference make_difference(const Type& y, const Type& t) {
  Difference d;
  d.fraction_bits = std::max(y.fraction_bits, t.fraction_bits);
  d.y_shift = d.fraction_bits - y.fraction_bits;
  d.t_shift = d.fraction_bits - t.fraction_bits;
  d.bits = bit_length(bound_add(bound_shl(y.bound, d.y_shift), bound_shl(t.bound, d.t_shift)));
  d.bits = std::max({d.bits, d.y_shift, d.t_shift});  // whatever was proved of y and t
  d.elements = y.product(1, y.rank);
  d.count_bits = bit_length(static_cast<uint64_t>(d.elements));
  return d;
}

// y and t of one shape [B, ...] whose difference fits int64.
inline bool require_difference(Check& check) {
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16, DType::i32}) ||
      !check.require_dtype(1, {DType::i16, DType::i32}) || !check.require_same_shape(0, 1) ||
      !check.require_rank(0, 1, kMaxRank)) {
    return false;
  }
  const Type& y = check.in[0];
  if (y.batch_axis() > 0) {
    return check.fail(Status::bad_batch, "the batch must be the first axis, received axis %d",
                      y.batch_axis());
  }
  const int bits = make_difference(y, check.in[1]).bits;
  if (bits > 62) {
    return check.fail(Status::unproved_bound, "y - t must have at most 62 bits, it may have %d",
                      bits);
  }
  return true;
}

// The bits of the formula's dividend.
inline bool require_wide(Check& check, int bits) {
  if (bits <= kWideBits) return true;
  return check.fail(Status::unproved_bound,
                    "the dividend must have at most %d bits, it may have %d", kWideBits, bits);
}

}  // namespace gvm
