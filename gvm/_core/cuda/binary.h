// Exact functions of two broadcast operands.
#pragma once

#include "cpu/binary.h"
#include "cuda/kernel.h"

namespace gvm {

// out[i] = f(a[i], b[i]), f being numbers with a device function (int64_t, int64_t) -> int64_t.
template <typename F>
Status run_binary(const Call& call, const F f) {
  const Nest<2> nest = binary_nest(call);
  const Cells a = cells(call.in[0]), b = cells(call.in[1]);
  const Exact to = make_exact(call);
  call.cuda->each(
      call.out[0].elements,
      GVM_EACH(int64_t i) { to.put(i, f(a.get(place(nest, 0, i)), b.get(place(nest, 1, i)))); });
  return Status::ok;
}

// a * 2^shift_a + or - b * 2^shift_b at F = max(Fa, Fb).
struct DeviceSum {
  int shift_a, shift_b;
  bool negative;
  GVM_DEVICE_CODE int64_t operator()(int64_t a, int64_t b) const {
    const uint64_t x = static_cast<uint64_t>(shifted_left(a, shift_a));
    const uint64_t y = static_cast<uint64_t>(shifted_left(b, shift_b));
    return static_cast<int64_t>(negative ? x - y : x + y);
  }
};

inline Status run_device_sum(const Call& call, bool negative) {
  const int f =
      call.fused != nullptr ? call.fused->fraction_bits_in : call.out[0].type.fraction_bits;
  // Only 0 may be shifted by more than 62 places.
  return run_binary(call, DeviceSum{std::min(f - call.in[0].type.fraction_bits, 63),
                                    std::min(f - call.in[1].type.fraction_bits, 63), negative});
}

}  // namespace gvm
