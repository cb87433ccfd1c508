// What reading rows of a table by their numbers requires.
#pragma once

#include <limits>

#include "op.h"

namespace gvm {

// Row numbers of a table of `rows` rows: i32 without fraction bits.
inline bool require_indices(Check& check, int input, int64_t rows) {
  const Type& indices = check.in[static_cast<size_t>(input)];
  if (!check.require_dtype(input, {DType::i32})) return false;
  if (indices.fraction_bits != 0) {
    return check.fail(Status::bad_type, "indices must have 0 fraction bits, received %d",
                      indices.fraction_bits);
  }
  if (rows > std::numeric_limits<int32_t>::max()) {
    return check.fail(Status::bad_shape, "rows must be at most 2^31 - 1, received %lld",
                      static_cast<long long>(rows));
  }
  return true;
}

}  // namespace gvm
