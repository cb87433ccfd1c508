#include <atomic>

#include "cpu/linear.h"
#include "cpu/strided.h"
#include "ops/pool.h"

namespace gvm {

namespace {

constexpr int64_t kChannels = 128;  // channels of a task
constexpr int64_t kFew = 12;        // up to this many channels are treated one by one

// Where a window at (row, column) reads, in elements of an image with `stride` channels.
struct Taps {
  const Window2d& window;
  int64_t origin;  // of the results, which may be those of a part of the image
  int64_t top, bottom, left, right, start, down, across;

  Taps(const Window2d& g, int64_t row, int64_t column, int64_t stride, int64_t origin_)
      : window(g),
        origin(origin_),
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
template <typename T, typename Sum>
void scatter_few(const Taps& taps, int64_t channels, const T* image, const int16_t* delta,
                 Sum* out) {
  const int64_t first = taps.start + taps.top * taps.down + taps.left * taps.across;
  for (int64_t c = 0; c < channels; ++c) {
    int64_t at = first;
    T best = image[first + c];
    taps.each([&](int64_t offset) {
      const T x = image[offset + c];
      at = x > best ? offset : at;
      best = x > best ? x : best;
    });
    Sum* const to = out + (at - taps.origin + c);
    *to = static_cast<Sum>(*to + delta[c]);
  }
}

// The same side by side. The tap that takes delta leaves 0 for those after it. Where no other
// window reads these pixels, it is stored instead of added.
template <bool kStore, typename T, typename Sum>
void scatter(const Taps& taps, int64_t channels, const T* image, const int16_t* delta, Sum* out) {
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
    Sum* to = out + (offset - taps.origin);
    for (int64_t c = 0; c < channels; ++c) {
      const int16_t taken = x[c] == best[c] ? rest[c] : int16_t{0};
      rest[c] = static_cast<int16_t>(rest[c] - taken);
      to[c] = static_cast<Sum>(kStore ? taken : to[c] + taken);
    }
  });
}

// Whether every element along an axis is read by exactly one window.
bool tiles(const WindowAxis& a) {
  int64_t reads = 0;
  for (int64_t k = 0; k < a.window; ++k) reads += a.last_position(k) - a.first_position(k);
  return axis_overlap(a) == 1 && reads == a.in;
}

// The gradients of one example, or of a band of its rows, from windows [first, last) down the
// image. `out` stands for the whole example, as `image` and `delta` do.
template <typename T, typename Sum>
void spread_rows(const Window2d& window, int64_t first, int64_t last, int64_t channels,
                 int64_t count, bool store, const T* image, const int16_t* delta, int64_t origin,
                 Sum* out) {
  const int64_t columns = window.w.out();
  for (int64_t row = first; row < last; ++row) {
    const int16_t* d = delta + row * columns * channels;
    for (int64_t column = 0; column < columns; ++column, d += channels) {
      const Taps taps(window, row, column, channels, origin);
      if (count <= kFew) {
        scatter_few(taps, count, image, d, out);
      } else if (store) {
        scatter<true>(taps, count, image, d, out);
      } else {
        scatter<false>(taps, count, image, d, out);
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
  const bool store = channels > kFew && tiles(window.h) && tiles(window.w);
  call.threads->parallel_for(x.dims[0] * blocks, [&](int64_t task) {
    const int64_t example = task / blocks, from = task % blocks * kChannels;
    const int64_t count = std::min(kChannels, channels - from);
    const T* image = x.as<T>() + example * pixels * channels + from;
    const int16_t* d = delta.as<int16_t>() + example * rows * columns * channels + from;
    int64_t* out = call.out[0].as<int64_t>() + example * pixels * channels + from;
    const bool stored = store && count > kFew;
    if (blocks == 1 && !stored) {
      std::fill_n(out, pixels * channels, 0);
    } else if (!stored) {
      for (int64_t i = 0; i < pixels; ++i) std::fill_n(out + i * channels, count, 0);
    }
    spread_rows(window, 0, rows, channels, count, stored, image, d, 0, out);
  });
}

// The same with Convert behind it: bands of rows that no other window reads, or whole examples, are
// summed in memory that stays near. Sum: i16 where no pixel has more than one window, else i64.
template <typename Sum, typename T>
void spread_converted(const Call& call, const Window2d& window) {
  const Tensor &x = call.in[0], &delta = call.in[1];
  const int64_t channels = x.dims[3], line = x.dims[2] * channels, height = x.dims[1];
  const int64_t rows = delta.dims[1], columns = delta.dims[2];
  const bool bands = tiles(window.h) && window.h.dilation == 1;
  const bool store = channels > kFew && bands && tiles(window.w);
  const int64_t most = bands ? std::min(window.h.window, height) : height;
  const int64_t each = most * line;
  constexpr int64_t kBytes = static_cast<int64_t>(sizeof(Sum));
  constexpr DType kType = kBytes == 2 ? DType::i16 : DType::i64;
  Sum* const memory =
      static_cast<Sum*>(call.scratch->get(0, each * call.threads->count() * kBytes));
  const Epilogue to = epilogue_of(call);
  std::atomic<int64_t> clamps{0};
  call.threads->parallel_for(x.dims[0], [&](int64_t example, int thread) {
    Sum* const sums = memory + thread * each;
    int64_t clamped = 0;
    for (int64_t row = 0; row < rows; row += bands ? 1 : rows) {
      const WindowAxis& h = window.h;
      const int64_t top = bands ? h.start(row) + h.first(row) : 0;
      const int64_t bottom = bands ? h.start(row) + h.last(row) : height;
      const T* image = x.as<T>() + example * height * line;
      const int16_t* d = delta.as<int16_t>() + example * rows * columns * channels;
      for (int64_t from = 0; from < channels; from += kChannels) {
        const int64_t count = std::min(kChannels, channels - from);
        const bool stored = store && count > kFew;
        for (int64_t i = 0; !stored && i < (bottom - top) * line; i += channels) {
          std::fill_n(sums + i + from, count, Sum{0});
        }
        spread_rows(window, row, bands ? row + 1 : rows, channels, count, stored, image + from,
                    d + from, top * line, sums + from);
      }
      clamped += put_sums(to, *call.cpu, sums, kType, (bottom - top) * line,
                          (example * height + top) * line);
    }
    clamps += clamped;
  });
  *call.clamps += clamps;
}

Status run(const Call& call) {
  const Tensor& x = call.in[0];
  const Window2d window = pool_window(*call.attributes, 0, x.dims[1], x.dims[2]);
  with_narrow(x.type.dtype, [&](auto zero) {
    using T = decltype(zero);
    if (call.fused != nullptr && axis_overlap(window.h) == 1 && axis_overlap(window.w) == 1) {
      spread_converted<int16_t, T>(call, window);
    } else if (call.fused != nullptr) {
      spread_converted<int64_t, T>(call, window);
    } else {
      spread<T>(call, window);
    }
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_max_pool2d_grad = {run, false, false, false, true};

}  // namespace gvm
