// Loops over strided tensors: nests of dimensions, cut into rows for the kernels and into ranges
// for the threads. How a range is cut never changes a result.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "cpu/kernel.h"

// Before a loop whose iterations are independent even where a result takes the place of an operand.
#if defined(__GNUC__) && !defined(__clang__)
#define GVM_INDEPENDENT _Pragma("GCC ivdep")
#else
#define GVM_INDEPENDENT
#endif

namespace gvm {

constexpr int64_t kGrain = 32768;  // elements that are worth a task of their own

// Calls f(begin, end) on pieces that make up [0, n), in parallel; all but the last have `grain`.
template <typename F>
void for_ranges(const Call& call, int64_t n, int64_t grain, F&& f) {
  if (n <= 0) return;
  if (n <= grain || call.threads->count() == 1) {
    f(int64_t{0}, n);
    return;
  }
  call.threads->parallel_for(
      (n - 1) / grain + 1, [&](int64_t task) { f(task * grain, std::min(n, (task + 1) * grain)); });
}

// Dimensions from the outermost to the innermost, with element strides for N operands. Dimensions
// of size 1 are left out, and neighbours that are one dimension for every operand are merged.
template <int N>
struct Nest {
  int rank = 0;
  int64_t dims[kMaxRank] = {};
  int64_t strides[N][kMaxRank] = {};

  void push(int64_t dim, const std::array<int64_t, N>& stride) {
    if (dim == 1) return;
    bool merges = rank > 0;
    for (int n = 0; merges && n < N; ++n) {
      merges = strides[n][rank - 1] == stride[static_cast<size_t>(n)] * dim;
    }
    const int at = merges ? rank - 1 : rank++;
    dims[at] = merges ? dims[at] * dim : dim;
    for (int n = 0; n < N; ++n) strides[n][at] = stride[static_cast<size_t>(n)];
  }

  int64_t elements() const {
    int64_t product = 1;
    for (int i = 0; i < rank; ++i) product *= dims[i];
    return product;
  }
  int64_t inner() const { return rank == 0 ? 1 : dims[rank - 1]; }
  int64_t inner_stride(int operand) const { return rank == 0 ? 0 : strides[operand][rank - 1]; }
};

// Calls f(element, offsets, count) for the rows, pieces of the innermost dimension, that make up
// the elements [begin, end) of the nest in row-major order; offsets[n] is where operand n has the
// first.
template <int N, typename F>
void for_rows(const Nest<N>& nest, int64_t begin, int64_t end, F&& f) {
  if (begin >= end) return;
  int64_t at[kMaxRank] = {};
  int64_t offsets[N] = {};
  int64_t rest = begin;
  for (int i = nest.rank - 1; i >= 0; --i) {
    at[i] = rest % nest.dims[i];
    rest /= nest.dims[i];
    for (int n = 0; n < N; ++n) offsets[n] += at[i] * nest.strides[n][i];
  }
  const int last = nest.rank - 1;
  int64_t element = begin;
  for (;;) {
    const int64_t left = last < 0 ? 1 : nest.dims[last] - at[last];
    const int64_t count = std::min(left, end - element);
    f(element, static_cast<const int64_t*>(offsets), count);
    element += count;
    if (element == end) return;
    for (int n = 0; n < N; ++n) offsets[n] -= at[last] * nest.strides[n][last];
    at[last] = 0;
    for (int i = last - 1;; --i) {
      for (int n = 0; n < N; ++n) offsets[n] += nest.strides[n][i];
      if (++at[i] < nest.dims[i]) break;
      for (int n = 0; n < N; ++n) offsets[n] -= at[i] * nest.strides[n][i];
      at[i] = 0;
    }
  }
}

// Element strides of a dense row-major tensor.
inline std::array<int64_t, kMaxRank> dense_strides(const int64_t* dims, int rank) {
  std::array<int64_t, kMaxRank> strides = {};
  int64_t stride = 1;
  for (int i = rank - 1; i >= 0; --i) {
    strides[static_cast<size_t>(i)] = stride;
    stride *= dims[i];
  }
  return strides;
}

// Element strides with which a dense tensor is read under a shape it is broadcast to.
inline std::array<int64_t, kMaxRank> broadcast_strides(const Tensor& t, int rank) {
  const std::array<int64_t, kMaxRank> dense = dense_strides(t.dims, t.type.rank);
  std::array<int64_t, kMaxRank> strides = {};
  const int missing = rank - t.type.rank;
  for (int i = 0; i < t.type.rank; ++i) {
    if (t.dims[i] != 1) strides[static_cast<size_t>(missing + i)] = dense[static_cast<size_t>(i)];
  }
  return strides;
}

// Calls f with a zero of the element type: i16 or i32; or i64 as well.
template <typename F>
void with_narrow(DType type, F&& f) {
  if (type == DType::i16) {
    f(int16_t{});
  } else {
    f(int32_t{});
  }
}

template <typename F>
void with_integer(DType type, F&& f) {
  if (type == DType::i64) {
    f(int64_t{});
  } else {
    with_narrow(type, f);
  }
}

}  // namespace gvm
