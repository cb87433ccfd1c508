// Exact functions of two broadcast operands.
#pragma once

#include "cpu/strided.h"

namespace gvm {

// out[i] = f(a[i], b[i]) over a row; an operand whose step is 0 stays where it is.
template <typename F, typename A, typename B, typename Out>
void binary_row(const F& f, const A* a, int64_t step_a, const B* b, int64_t step_b, Out* out,
                int64_t n) {
  if (step_a != 0 && step_b != 0) {
    GVM_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], b[i]);
  } else if (step_a != 0) {
    const B fixed = *b;
    GVM_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], fixed);
  } else if (step_b != 0) {
    const A fixed = *a;
    GVM_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) out[i] = f(fixed, b[i]);
  } else {
    std::fill(out, out + n, f(*a, *b));
  }
}

// The innermost stride of a dense operand under broadcasting is 0 or 1.
template <typename Out, typename F, typename A, typename B>
void binary(const Call& call, const F& f, const A* a, const B* b) {
  const Tensor& out = call.out[0];
  const auto strides_a = broadcast_strides(call.in[0], out.type.rank);
  const auto strides_b = broadcast_strides(call.in[1], out.type.rank);
  Nest<2> nest;
  for (int i = 0; i < out.type.rank; ++i) {
    const size_t at = static_cast<size_t>(i);
    nest.push(out.dims[i], {strides_a[at], strides_b[at]});
  }
  for_ranges(call, out.elements, kGrain, [&](int64_t begin, int64_t end) {
    for_rows(nest, begin, end, [&](int64_t element, const int64_t* offsets, int64_t count) {
      binary_row(f, a + offsets[0], nest.inner_stride(0), b + offsets[1], nest.inner_stride(1),
                 out.as<Out>() + element, count);
    });
  });
}

// a * 2^shift_a + sign * b * 2^shift_b at F = max(Fa, Fb); the loader has proved that it fits.
struct ShiftedSum {
  int shift_a, shift_b;
  bool negative;
  int64_t operator()(int64_t a, int64_t b) const {
    const uint64_t x = static_cast<uint64_t>(a) << shift_a;
    const uint64_t y = static_cast<uint64_t>(b) << shift_b;
    return static_cast<int64_t>(negative ? x - y : x + y);
  }
};

inline Status run_sum(const Call& call, bool negative) {
  const Tensor &a = call.in[0], &b = call.in[1];
  const int f = call.out[0].type.fraction_bits;
  // Only 0 may be shifted by more than 62 places.
  const ShiftedSum sum = {std::min(f - a.type.fraction_bits, 63),
                          std::min(f - b.type.fraction_bits, 63), negative};
  with_integer(a.type.dtype, [&](auto zero_a) {
    with_integer(b.type.dtype, [&](auto zero_b) {
      binary<int64_t>(call, sum, a.as<decltype(zero_a)>(), b.as<decltype(zero_b)>());
    });
  });
  return Status::ok;
}

}  // namespace gvm
