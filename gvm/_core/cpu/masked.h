// Gradients that pass or drop each element of delta by an operand of the same shape.
#pragma once

#include "cpu/strided.h"

namespace gvm {

// out[i] = passes(q[i], delta[i]) ? delta[i] : 0, with q = in[0] and delta = in[1].
template <template <typename> class Passes>
Status run_masked(const Call& call) {
  with_narrow(call.in[0].type.dtype, [&](auto zero_q) {
    with_integer(call.in[1].type.dtype, [&](auto zero_delta) {
      using Q = decltype(zero_q);
      using Delta = decltype(zero_delta);
      const Q* q = call.in[0].as<Q>();
      const Delta* delta = call.in[1].as<Delta>();
      Delta* out = call.out[0].as<Delta>();
      for_ranges(call, call.out[0].elements, kGrain, [&](int64_t begin, int64_t end) {
        GVM_INDEPENDENT
        for (int64_t i = begin; i < end; ++i) {
          out[i] = Passes<Q>::test(q[i], delta[i]) ? delta[i] : Delta{0};
        }
      });
    });
  });
  return Status::ok;
}

}  // namespace gvm
