// What every optimizer step checks.
#pragma once

#include "op.h"

namespace gvm {

// Input 0 is the parameter; `gradient` and `count` are positions of those inputs.
inline bool check_update(Check& check, int gradient, int count) {
  for (int i = 0; i < static_cast<int>(check.in.size()); ++i) {
    if (!check.require_shared(i)) return false;
  }
  for (int i = 0; i < gradient; ++i) {
    if (!check.require_dtype(i, {DType::i32, DType::i16})) return false;
  }
  for (int i = 1; i <= gradient; ++i) {
    if (!check.require_same_shape(0, i)) return false;
  }
  if (!check.require_dtype(gradient, {DType::i64}) || !check.require_dtype(count, {DType::i64})) {
    return false;
  }
  const Type& n = check.in[static_cast<size_t>(count)];
  if (n.rank != 0) {
    return check.fail(Status::bad_shape, "count must be a scalar, received rank %d", n.rank);
  }
  if (n.fraction_bits != 0) {
    return check.fail(Status::bad_type, "count must have 0 fraction bits, received %d",
                      n.fraction_bits);
  }
  return true;
}

// The knots of a learning rate: lists of one length, steps ascending.
inline bool check_schedule(Check& check, int steps, int rates) {
  const std::vector<int64_t>& knots = check.list(steps);
  if (check.list(rates).size() != knots.size()) {
    return check.fail(Status::bad_attribute,
                      "there must be as many rates as steps, %zu, received %zu", knots.size(),
                      check.list(rates).size());
  }
  for (size_t i = 1; i < knots.size(); ++i) {
    if (knots[i] > knots[i - 1]) continue;
    return check.fail(Status::bad_attribute, "steps must ascend, received %lld after %lld",
                      static_cast<long long>(knots[i]), static_cast<long long>(knots[i - 1]));
  }
  return true;
}

// The format of a root of mean squares, which its epsilon shares, beside that of the gradient.
inline bool check_moment(Check& check, int root, int gradient, int epsilon_exponent) {
  const int bits = check.in[static_cast<size_t>(root)].fraction_bits;
  if (check.attr(epsilon_exponent) != bits) {
    return check.fail(Status::bad_attribute, "epsilon_exponent must be F(s), %d, received %lld",
                      bits, static_cast<long long>(check.attr(epsilon_exponent)));
  }
  const int up = bits + 8 - check.in[static_cast<size_t>(gradient)].fraction_bits;
  if (up > 62) {
    return check.fail(Status::bad_type, "F(s) + 8 - F(gradient) must be at most 62, received %d",
                      up);
  }
  return true;
}

}  // namespace gvm
