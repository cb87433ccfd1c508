#include "cpu/strided.h"
#include "ops/pool.h"

namespace gvm {

namespace {

constexpr int64_t kChannels = 128;  // channels of a task
constexpr int64_t kFew = 12;        // up to this many channels are treated one by one

// Where a window at (row, column) reads, in elements of an image with `stride` channels.
struct Taps {
  const Window2d& window;
  int64_t top, bottom, left, right, start, down, across;

  Taps(const Window2d& g, int64_t row, int64_t column, int64_t stride)
      : window(g),
        top(g.h.first(row)),
        bottom(g.h.last(row)),
        left(g.w.first(column)),
        right(g.w.last(column)),
        start((g.h.start(row) * g.w.in + g.w.start(column)) * stride),
        down(g.h.dilation * g.w.in * stride),
        across(g.w.dilation * stride) {}

  // Calls f(offset) for each tap in row-major order.
  template <typename F>
  void each(F&& f) const {
    for (int64_t kh = top; kh < bottom; ++kh) {
      for (int64_t kw = left; kw < right; ++kw) f(start + kh * down + kw * across);
    }
  }
};

// Adds delta where a window has its first maximum, channel by channel.
template <typename T>
void scatter_few(const Taps& taps, int64_t channels, const T* image, const int16_t* delta,
                 int64_t* out) {
  const int64_t first = taps.start + taps.top * taps.down + taps.left * taps.across;
  for (int64_t c = 0; c < channels; ++c) {
    int64_t at = first;
    T best = image[first + c];
    taps.each([&](int64_t offset) {
      const T x = image[offset + c];
      at = x > best ? offset : at;
      best = x > best ? x : best;
    });
    out[at + c] += delta[c];
  }
}

// The same side by side. The tap that takes delta leaves 0 for those after it. Where no other
// window reads these pixels, it is stored instead of added.
template <bool kStore, typename T>
void scatter(const Taps& taps, int64_t channels, const T* image, const int16_t* delta,
             int64_t* out) {
  T best[kChannels];
  int16_t rest[kChannels];
  const T* first = image + taps.start + taps.top * taps.down + taps.left * taps.across;
  std::copy(first, first + channels, best);
  std::copy(delta, delta + channels, rest);
  taps.each([&](int64_t offset) {
    const T* x = image + offset;
    for (int64_t c = 0; c < channels; ++c) best[c] = x[c] > best[c] ? x[c] : best[c];
  });
  taps.each([&](int64_t offset) {
    const T* x = image + offset;
    int64_t* to = out + offset;
    for (int64_t c = 0; c < channels; ++c) {
      const int16_t taken = x[c] == best[c] ? rest[c] : int16_t{0};
      rest[c] = static_cast<int16_t>(rest[c] - taken);
      to[c] = kStore ? taken : to[c] + taken;
    }
  });
}

// Whether every element along an axis is read by exactly one window.
bool tiles(const WindowAxis& a) {
  int64_t reads = 0;
  for (int64_t k = 0; k < a.window; ++k) reads += a.last_position(k) - a.first_position(k);
  return axis_overlap(a) == 1 && reads == a.in;
}

template <typename T>
void spread(const Call& call, const Window2d& window) {
  const Tensor &x = call.in[0], &delta = call.in[1];
  const int64_t channels = x.dims[3], pixels = x.dims[1] * x.dims[2];
  const int64_t rows = delta.dims[1], columns = delta.dims[2];
  const int64_t blocks = (channels + kChannels - 1) / kChannels;
  const bool few = channels <= kFew;
  const bool store = !few && tiles(window.h) && tiles(window.w);
  call.threads->parallel_for(x.dims[0] * blocks, [&](int64_t task) {
    const int64_t example = task / blocks, from = task % blocks * kChannels;
    const int64_t count = std::min(kChannels, channels - from);
    const T* image = x.as<T>() + example * pixels * channels + from;
    const int16_t* d = delta.as<int16_t>() + example * rows * columns * channels + from;
    int64_t* out = call.out[0].as<int64_t>() + example * pixels * channels + from;
    if (blocks == 1 && !store) {
      std::fill_n(out, pixels * channels, 0);
    } else if (!store) {
      for (int64_t i = 0; i < pixels; ++i) std::fill_n(out + i * channels, count, 0);
    }
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column, d += channels) {
        const Taps taps(window, row, column, channels);
        if (few) {
          scatter_few(taps, count, image, d, out);
        } else if (store) {
          scatter<true>(taps, count, image, d, out);
        } else {
          scatter<false>(taps, count, image, d, out);
        }
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
