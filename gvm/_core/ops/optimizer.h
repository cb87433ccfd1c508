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

}  // namespace gvm
