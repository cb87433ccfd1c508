// Moving elements of any type: only their size matters.
#pragma once

#include <cstring>

#include "cpu/strided.h"

namespace gvm {

// Calls f with a zero of an unsigned integer of the type's size.
template <typename F>
void with_size(DType type, F&& f) {
  switch (dtype_bytes(type)) {
    case 1:
      return f(uint8_t{});
    case 2:
      return f(uint16_t{});
    case 4:
      return f(uint32_t{});
    default:
      return f(uint64_t{});
  }
}

// out[i * to] = x[i * from] for i < n.
template <typename T>
void copy_row(const T* x, int64_t from, T* out, int64_t to, int64_t n) {
  if (from == 1 && to == 1) {
    std::memcpy(out, x, static_cast<size_t>(n) * sizeof(T));
  } else if (from == 0 && to == 1) {
    std::fill(out, out + n, *x);
  } else {
    for (int64_t i = 0; i < n; ++i) out[i * to] = x[i * from];
  }
}

// Copies every element of a nest of (source, destination) strides.
template <typename T>
void copy_nest(const Call& call, const Nest<2>& nest, const T* x, T* out) {
  for_ranges(call, nest.elements(), kGrain, [&](int64_t begin, int64_t end) {
    for_rows(nest, begin, end, [&](int64_t, const int64_t* at, int64_t count) {
      copy_row(x + at[0], nest.inner_stride(0), out + at[1], nest.inner_stride(1), count);
    });
  });
}

}  // namespace gvm
