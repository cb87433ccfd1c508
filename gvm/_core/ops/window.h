// Geometry of two-dimensional windows, as convolution and pooling see it: images are [N, H, W, C],
// a window element k of position o reads the input at o * stride - before + k * dilation.
#pragma once

#include <cstdint>

#include "op.h"

namespace gvm {

constexpr int64_t kMaxWindow = 4096;  // elements of a window along one axis

// One spatial axis. Every field but `before` and `after` is >= 1 once check_axis has passed.
struct WindowAxis {
  int64_t in = 1;      // size of the input
  int64_t window = 1;  // elements of the window
  int64_t stride = 1;
  int64_t before = 0, after = 0;  // padding
  int64_t dilation = 1;

  // Input elements from the first to the last element of a window.
  constexpr int64_t extent() const { return (window - 1) * dilation + 1; }
  // Number of positions; 0 when the window does not fit even once.
  constexpr int64_t out() const {
    const int64_t room = in + before + after - extent();
    return room < 0 ? 0 : room / stride + 1;
  }
  // Where element 0 of the window at position o reads; outside [0, in) is padding.
  constexpr int64_t start(int64_t o) const { return o * stride - before; }
  // The elements k of position o that read the input, not padding, are [first(o), last(o)); none
  // when first(o) >= last(o).
  constexpr int64_t first(int64_t o) const { return above(-start(o), dilation, window); }
  constexpr int64_t last(int64_t o) const { return above(in - start(o), dilation, window); }
  // The positions o at which element k reads the input are [first_position(k), last_position(k)).
  constexpr int64_t first_position(int64_t k) const {
    return above(before - k * dilation, stride, out());
  }
  constexpr int64_t last_position(int64_t k) const {
    return above(in + before - k * dilation, stride, out());
  }

 private:
  // ceil(distance / step) held within [0, limit].
  static constexpr int64_t above(int64_t distance, int64_t step, int64_t limit) {
    if (distance <= 0) return 0;
    const int64_t n = (distance - 1) / step + 1;
    return n < limit ? n : limit;
  }
};

struct Window2d {
  WindowAxis h, w;

  constexpr int64_t elements() const { return h.window * w.window; }
  constexpr int64_t positions() const { return h.out() * w.out(); }
};

// From the attribute lists strides (h, w), padding (top, bottom, left, right), dilation (h, w).
inline Window2d make_window(int64_t in_h, int64_t in_w, int64_t window_h, int64_t window_w,
                            const std::vector<int64_t>& strides,
                            const std::vector<int64_t>& padding,
                            const std::vector<int64_t>& dilation) {
  Window2d g;
  g.h = {in_h, window_h, strides[0], padding[0], padding[1], dilation[0]};
  g.w = {in_w, window_w, strides[1], padding[2], padding[3], dilation[1]};
  return g;
}

inline bool check_axis(Check& check, const WindowAxis& a, const char* axis) {
  const auto number = [](int64_t v) { return static_cast<long long>(v); };
  if (a.in < 1) {
    return check.fail(Status::bad_shape, "%s must be at least 1, received %lld", axis,
                      number(a.in));
  }
  if (a.window < 1 || a.window > kMaxWindow) {
    return check.fail(Status::bad_shape, "window along %s must be in [1, %lld], received %lld",
                      axis, number(kMaxWindow), number(a.window));
  }
  if (a.out() < 1) {
    return check.fail(
        Status::bad_shape,
        "window along %s must fit the padded input of %lld, received an extent of %lld", axis,
        number(a.in + a.before + a.after), number(a.extent()));
  }
  return true;
}

// Window sizes in [1, kMaxWindow], and each window fits its padded axis at least once.
inline bool check_window(Check& check, const Window2d& g) {
  return check_axis(check, g.h, "height") && check_axis(check, g.w, "width");
}

// Every position reads at least one input element: what maxima and averages need. Only positions
// that start in the padding can fail, so the loop is at most `before` long.
inline bool check_axis_reads_input(Check& check, const WindowAxis& a, const char* axis) {
  bool reads = a.start(a.out() - 1) < a.in;
  for (int64_t o = 0; reads && o < a.out() && a.start(o) < 0; ++o) reads = a.first(o) < a.last(o);
  if (reads) return true;
  return check.fail(Status::bad_shape,
                    "every window along %s must read the input, received one wholly in padding",
                    axis);
}

inline bool check_window_reads_input(Check& check, const Window2d& g) {
  return check_axis_reads_input(check, g.h, "height") &&
         check_axis_reads_input(check, g.w, "width");
}

}  // namespace gvm
