// Exact functions of two broadcast operands.
#pragma once

#include <atomic>

#include "cpu/linear.h"
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
inline Nest<2> binary_nest(const Call& call) {
  const Tensor& out = call.out[0];
  const auto strides_a = broadcast_strides(call.in[0], out.type.rank);
  const auto strides_b = broadcast_strides(call.in[1], out.type.rank);
  Nest<2> nest;
  for (int i = 0; i < out.type.rank; ++i) {
    const size_t at = static_cast<size_t>(i);
    nest.push(out.dims[i], {strides_a[at], strides_b[at]});
  }
  return nest;
}

template <typename Out, typename F, typename A, typename B>
void binary(const Call& call, const F& f, const A* a, const B* b) {
  const Tensor& out = call.out[0];
  const Nest<2> nest = binary_nest(call);
  for_ranges(call, out.elements, kGrain, [&](int64_t begin, int64_t end) {
    for_rows(nest, begin, end, [&](int64_t element, const int64_t* offsets, int64_t count) {
      binary_row(f, a + offsets[0], nest.inner_stride(0), b + offsets[1], nest.inner_stride(1),
                 out.as<Out>() + element, count);
    });
  });
}

constexpr int64_t kExactHeld = 1024;  // results between function and convert

// The same with the convert and relu of call.fused behind it; Exact is i32 or i64. row(a, step_a,
// b, step_b, n, out) makes n results.
template <typename Exact, typename Row, typename A, typename B>
void rows_converted(const Call& call, const Row& row, const A* a, const B* b) {
  const Tensor& out = call.out[0];
  const Epilogue to = epilogue_of(call);
  const Nest<2> nest = binary_nest(call);
  const ConvertRun run =
      convert_run(*call.cpu, sizeof(Exact) == 4 ? DType::i32 : DType::i64, to.type);
  const int64_t bytes = dtype_bytes(to.type);
  std::atomic<int64_t> clamps{0};
  for_ranges(call, out.elements, kGrain, [&](int64_t begin, int64_t end) {
    Exact held[kExactHeld];
    int64_t first = begin, count = 0, clamped = 0;
    const auto flush = [&] {
      clamped += convert_elements(run, held, sizeof(Exact), out.as<char>() + first * bytes, bytes,
                                  first, count, to.convert, to.index);
      first += count;
      count = 0;
    };
    for_rows(nest, begin, end, [&](int64_t, const int64_t* offsets, int64_t length) {
      const int64_t step_a = nest.inner_stride(0), step_b = nest.inner_stride(1);
      for (int64_t done = 0; done < length;) {
        const int64_t n = std::min(length - done, kExactHeld - count);
        row(a + offsets[0] + done * step_a, step_a, b + offsets[1] + done * step_b, step_b, n,
            held + count);
        done += n;
        count += n;
        if (count == kExactHeld) flush();
      }
    });
    flush();
    clamps += clamped;
  });
  *call.clamps += clamps;
}

template <typename Exact, typename F, typename A, typename B>
void binary_converted(const Call& call, const F& f, const A* a, const B* b) {
  rows_converted<Exact>(
      call,
      [&](const A* x, int64_t step_x, const B* y, int64_t step_y, int64_t n, Exact* out) {
        binary_row(f, x, step_x, y, step_y, out, n);
      },
      a, b);
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
  const int f =
      call.fused != nullptr ? call.fused->fraction_bits_in : call.out[0].type.fraction_bits;
  // Only 0 may be shifted by more than 62 places.
  const ShiftedSum sum = {std::min(f - a.type.fraction_bits, 63),
                          std::min(f - b.type.fraction_bits, 63), negative};
  const bool short_operands = a.type.dtype == DType::i16 && b.type.dtype == DType::i16;
  if (call.fused != nullptr && short_operands && std::max(sum.shift_a, sum.shift_b) <= 14) {
    rows_converted<int32_t>(
        call,
        [&](const int16_t* x, int64_t step_x, const int16_t* y, int64_t step_y, int64_t n,
            int32_t* out) {
          call.cpu->rows.sum(x, step_x, sum.shift_a, y, step_y, sum.shift_b, negative, n, out);
        },
        a.as<int16_t>(), b.as<int16_t>());
    return Status::ok;
  }
  with_integer(a.type.dtype, [&](auto zero_a) {
    with_integer(b.type.dtype, [&](auto zero_b) {
      const auto* of_a = a.as<decltype(zero_a)>();
      const auto* of_b = b.as<decltype(zero_b)>();
      if (call.fused != nullptr) {
        binary_converted<int64_t>(call, sum, of_a, of_b);
      } else {
        binary<int64_t>(call, sum, of_a, of_b);
      }
    });
  });
  return Status::ok;
}

}  // namespace gvm
