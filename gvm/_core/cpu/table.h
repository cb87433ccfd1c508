// Rows of a table by their numbers.
#pragma once

#include "cpu/strided.h"

namespace gvm {

// Whether every index is a row; else the error that says which is not.
inline bool check_indices(const Call& call, const Tensor& indices, int64_t rows) {
  const int32_t* index = indices.as<int32_t>();
  for (int64_t i = 0; i < indices.elements; ++i) {
    if (index[i] >= 0 && index[i] < rows) continue;
    return call.error->fail(Status::bad_input, "%s: index must be in [0, %lld), received %d",
                            call.op->name, static_cast<long long>(rows), index[i]);
  }
  return true;
}

}  // namespace gvm
