#include "cpu/strided.h"
#include "ops/pool.h"

namespace gvm {

namespace {

template <typename T>
void keep_larger(const T* x, int64_t n, T* best) {
  for (int64_t i = 0; i < n; ++i) best[i] = x[i] > best[i] ? x[i] : best[i];
}

// One row of results: first the maximum over the rows of the windows, then over their columns.
template <typename T>
void pool_row(const Window2d& window, int64_t channels, const T* image, int64_t row, T* rows,
              T* out) {
  const WindowAxis &h = window.h, &w = window.w;
  const int64_t width = w.in * channels;
  const int64_t first = h.first(row), last = h.last(row);
  const T* best = image + (h.start(row) + first * h.dilation) * width;
  if (last - first > 1) {
    std::copy(best, best + width, rows);
    for (int64_t k = first + 1; k < last; ++k) {
      keep_larger(image + (h.start(row) + k * h.dilation) * width, width, rows);
    }
    best = rows;
  }
  const int64_t columns = w.out();
  for (int64_t column = 0; column < columns; ++column) {
    const int64_t begin = w.first(column), end = w.last(column);
    const T* x = best + (w.start(column) + begin * w.dilation) * channels;
    T* to = out + column * channels;
    std::copy(x, x + channels, to);
    for (int64_t k = begin + 1; k < end; ++k) {
      x += w.dilation * channels;
      keep_larger(x, channels, to);
    }
  }
}

template <typename T>
void pool(const Call& call, const Window2d& window) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const int64_t channels = x.dims[3], rows = out.dims[1];
  const int64_t width = x.dims[2] * channels, out_width = out.dims[2] * channels;
  T* buffers = static_cast<T*>(
      call.scratch->get(0, call.threads->count() * width * static_cast<int64_t>(sizeof(T))));
  const int64_t grain = kGrain / (width * window.h.window) + 1;
  const int64_t all = out.dims[0] * rows;
  call.threads->parallel_for((all + grain - 1) / grain, [&](int64_t task, int thread) {
    for (int64_t i = task * grain; i < std::min(all, (task + 1) * grain); ++i) {
      pool_row(window, channels, x.as<T>() + i / rows * x.dims[1] * width, i % rows,
               buffers + thread * width, out.as<T>() + i * out_width);
    }
  });
}

Status run(const Call& call) {
  const Tensor& x = call.in[0];
  const Window2d window = pool_window(*call.attributes, 0, x.dims[1], x.dims[2]);
  with_narrow(x.type.dtype, [&](auto zero) { pool<decltype(zero)>(call, window); });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_max_pool2d = {run};

}  // namespace gvm
