#include <atomic>

#include "cpu/quotient.h"
#include "cpu/strided.h"
#include "ops/pool.h"

namespace gvm {

namespace {

enum { kWindow, kStrides, kPadding, kDilation, kCountIncludePad, kDtype, kFractionBits, kRounding };

// Sums windows in Lane, which holds the sum of a whole window, a row of results at a time, and
// rounds neighbours of one count together.
template <typename T, typename Lane>
void pool(const Call& call, const Window2d& window) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const WindowAxis &h = window.h, &w = window.w;
  const int64_t channels = x.dims[3], rows = out.dims[1], columns = out.dims[2];
  const int64_t width = columns * channels;
  const bool include_pad = call.attr(kCountIncludePad) != 0;
  const QuotientSite site =
      make_quotient_site(call, static_cast<Rounding>(call.attr(kRounding)), x.type.fraction_bits);
  const IndexMap index = index_map(out.type, call.batch);
  const int64_t bytes = dtype_bytes(out.type.dtype);
  Lane* buffers = static_cast<Lane*>(
      call.scratch->get(0, call.threads->count() * width * static_cast<int64_t>(sizeof(Lane))));
  std::atomic<int64_t> clamps{0};
  call.threads->parallel_for(out.dims[0] * rows, [&](int64_t task, int thread) {
    const int64_t row = task % rows;
    const T* image = x.as<T>() + task / rows * h.in * w.in * channels;
    Lane* sums = buffers + thread * width;
    std::fill(sums, sums + width, Lane{0});
    for (int64_t kh = h.first(row); kh < h.last(row); ++kh) {
      const T* line = image + (h.start(row) + kh * h.dilation) * w.in * channels;
      for (int64_t column = 0; column < columns; ++column) {
        Lane* to = sums + column * channels;
        for (int64_t kw = w.first(column); kw < w.last(column); ++kw) {
          const T* pixel = line + (w.start(column) + kw * w.dilation) * channels;
          for (int64_t c = 0; c < channels; ++c) to[c] += pixel[c];
        }
      }
    }
    const int64_t count_h = axis_count(h, row, include_pad);
    int64_t clamped = 0;
    for (int64_t column = 0; column < columns;) {
      const int64_t first = column, count_w = axis_count(w, column, include_pad);
      while (column < columns && axis_count(w, column, include_pad) == count_w) ++column;
      const int64_t element = task * width + first * channels;
      clamped += quotient_row(call, site, sums + first * channels, (column - first) * channels,
                              count_h * count_w, index(element), out.as<char>() + element * bytes);
    }
    clamps += clamped;
  });
  *call.clamps += clamps;
}

Status run(const Call& call) {
  const Tensor& x = call.in[0];
  const Window2d window = pool_window(*call.attributes, kWindow, x.dims[1], x.dims[2]);
  if (x.type.dtype == DType::i32) {
    pool<int32_t, int64_t>(call, window);
  } else if (window.elements() <= 32768) {
    pool<int16_t, int32_t>(call, window);
  } else {
    pool<int16_t, int64_t>(call, window);
  }
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_avg_pool2d = {run};

}  // namespace gvm
