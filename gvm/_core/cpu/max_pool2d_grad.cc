#include "cpu/strided.h"
#include "ops/pool.h"

namespace gvm {

namespace {

constexpr int64_t kChannels = 128;  // channels of a task

// Adds delta where a window has its first maximum, for `channels` channels. The taps are visited in
// row-major order, and the one that takes delta leaves 0 for those after it.
template <typename T>
void scatter(const Window2d& window, int64_t row, int64_t column, int64_t stride, int64_t channels,
             const T* image, const int16_t* delta, int64_t* out) {
  const WindowAxis &h = window.h, &w = window.w;
  const int64_t top = h.first(row), bottom = h.last(row);
  const int64_t left = w.first(column), right = w.last(column);
  const auto tap = [&](int64_t kh, int64_t kw) {
    return ((h.start(row) + kh * h.dilation) * w.in + w.start(column) + kw * w.dilation) * stride;
  };
  T best[kChannels];
  int16_t rest[kChannels];
  std::copy(image + tap(top, left), image + tap(top, left) + channels, best);
  std::copy(delta, delta + channels, rest);
  for (int64_t kh = top; kh < bottom; ++kh) {
    for (int64_t kw = left; kw < right; ++kw) {
      const T* x = image + tap(kh, kw);
      for (int64_t c = 0; c < channels; ++c) best[c] = x[c] > best[c] ? x[c] : best[c];
    }
  }
  for (int64_t kh = top; kh < bottom; ++kh) {
    for (int64_t kw = left; kw < right; ++kw) {
      const T* x = image + tap(kh, kw);
      int64_t* to = out + tap(kh, kw);
      for (int64_t c = 0; c < channels; ++c) {
        const int16_t taken = x[c] == best[c] ? rest[c] : int16_t{0};
        rest[c] = static_cast<int16_t>(rest[c] - taken);
        to[c] += taken;
      }
    }
  }
}

template <typename T>
void spread(const Call& call, const Window2d& window) {
  const Tensor &x = call.in[0], &delta = call.in[1];
  const int64_t channels = x.dims[3], pixels = x.dims[1] * x.dims[2];
  const int64_t rows = delta.dims[1], columns = delta.dims[2];
  const int64_t blocks = (channels + kChannels - 1) / kChannels;
  call.threads->parallel_for(x.dims[0] * blocks, [&](int64_t task) {
    const int64_t example = task / blocks, from = task % blocks * kChannels;
    const int64_t count = std::min(kChannels, channels - from);
    const T* image = x.as<T>() + example * pixels * channels + from;
    const int16_t* d = delta.as<int16_t>() + example * rows * columns * channels + from;
    int64_t* out = call.out[0].as<int64_t>() + example * pixels * channels + from;
    for (int64_t i = 0; i < pixels; ++i) std::fill_n(out + i * channels, count, 0);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        scatter(window, row, column, channels, count, image,
                d + (row * columns + column) * channels, out);
      }
    }
  });
}

Status run(const Call& call) {
  const Tensor& x = call.in[0];
  const Window2d window = pool_window(*call.attributes, 0, x.dims[1], x.dims[2]);
  with_narrow(x.type.dtype, [&](auto zero) { spread<decltype(zero)>(call, window); });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_max_pool2d_grad = {run};

}  // namespace gvm
