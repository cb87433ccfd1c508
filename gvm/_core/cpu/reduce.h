// Reductions of a dense tensor over some of its axes.
#pragma once

#include "cpu/strided.h"

namespace gvm {

// The tensor as kept dimensions, in whose row-major order the result lies densely, times reduced
// dimensions. The innermost dimension of one of them, and only one, has stride 1.
struct Reduction {
  Nest<1> kept, reduced;

  // Whether neighbours in memory belong to different results.
  bool by_columns() const { return reduced.inner_stride(0) != 1 && kept.rank > 0; }
};

inline Reduction make_reduction(const Tensor& x, const std::vector<int64_t>& axes) {
  const std::array<int64_t, kMaxRank> strides = dense_strides(x.dims, x.type.rank);
  Reduction r;
  for (int i = 0; i < x.type.rank; ++i) {
    const bool is_reduced = std::find(axes.begin(), axes.end(), i) != axes.end();
    (is_reduced ? r.reduced : r.kept).push(x.dims[i], {strides[static_cast<size_t>(i)]});
  }
  return r;
}

// Calls f(offset) for the reduced elements [begin, end), in row-major order.
template <typename F>
void for_reduced(const Reduction& r, int64_t begin, int64_t end, F&& f) {
  const int64_t step = r.reduced.inner_stride(0);
  for_rows(r.reduced, begin, end, [&](int64_t, const int64_t* offsets, int64_t count) {
    for (int64_t k = 0; k < count; ++k) f(offsets[0] + k * step);
  });
}

}  // namespace gvm
