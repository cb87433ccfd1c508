// Moving elements: a nest of (source, destination) strides.
#pragma once

#include "cuda/kernel.h"

namespace gvm {

inline void copy_places(const Call& call, const Nest<2>& nest, const Cells from, const Cells to,
                        int64_t first_from, int64_t first_to) {
  call.cuda->each(
      nest.elements(), GVM_EACH(int64_t i) {
        to.set(first_to + place(nest, 1, i), from.get(first_from + place(nest, 0, i)));
      });
}

}  // namespace gvm
