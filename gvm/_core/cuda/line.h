// Lines of a tensor along one axis.
#pragma once

#include "cuda/kernel.h"

namespace gvm {

// Line i has `length` elements, `inside` apart.
struct Lines {
  int64_t length, inside;
  GVM_DEVICE_CODE int64_t first(int64_t i) const {
    return i / inside * length * inside + i % inside;
  }
};

inline Lines lines_along(const Tensor& x, int64_t axis) {
  Lines lines = {x.dims[axis], 1};
  for (int64_t i = axis + 1; i < x.type.rank; ++i) lines.inside *= x.dims[i];
  return lines;
}

}  // namespace gvm
