// Gradients that pass or drop each element of delta by an operand of the same shape.
#pragma once

#include "cuda/kernel.h"

namespace gvm {

// out[i] = passes(q[i], delta[i]) ? delta[i] : 0.
template <typename Passes>
Status run_device_masked(const Call& call, const Passes passes) {
  const Cells q = cells(call.in[0]), delta = cells(call.in[1]), out = cells(call.out[0]);
  call.cuda->each(
      call.out[0].elements, GVM_EACH(int64_t i) {
        const int64_t d = delta.get(i);
        out.set(i, passes(q.get(i), d) ? d : 0);
      });
  return Status::ok;
}

}  // namespace gvm
