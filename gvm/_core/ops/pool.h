// The geometry of pooling over [B, H, W, C]: attributes window, strides, padding, dilation, in this
// order from `first` on.
#pragma once

#include "ops/window.h"

namespace gvm {

inline Window2d pool_window(const Attributes& attributes, int first, int64_t height,
                            int64_t width) {
  const std::vector<int64_t>& window = attributes.list(first);
  return make_window(height, width, window[0], window[1], attributes.list(first + 1),
                     attributes.list(first + 2), attributes.list(first + 3));
}

// Input `input` is [B, H, W, C] with the batch, if any, in front.
inline bool require_images(Check& check, int input) {
  if (!check.require_rank(input, 4, 4)) return false;
  const int axis = check.in[static_cast<size_t>(input)].batch_axis();
  if (axis <= 0) return true;
  return check.fail(Status::bad_batch, "input %d must have its batch axis at 0, received %d", input,
                    axis);
}

// Windows over the images of input 0 that fit, and each of which reads the image.
inline bool require_pool(Check& check, const Window2d& window) {
  return check_window(check, window) && check_window_reads_input(check, window);
}

// [B, Ho, Wo, C] for images like these.
inline std::vector<int64_t> pooled_dims(const Type& images, const Window2d& window) {
  return {images.dims[0], window.h.out(), window.w.out(), images.dims[3]};
}

// What windows read, those in padding counted too: the cost of pooling, forward and backward.
inline Count pool_reads(const Type& pooled, const Window2d& window) {
  return pooled.elements() * window.elements();
}

inline bool require_pooled(Check& check, int input, const std::vector<int64_t>& dims) {
  const Type& t = check.in[static_cast<size_t>(input)];
  for (int i = 0; i < 4; ++i) {
    if (t.rank != 4 || t.dims[i] != dims[static_cast<size_t>(i)]) {
      return check.fail(Status::bad_shape,
                        "delta must have the shape of the pooled images, %lld by %lld of %lld "
                        "channels",
                        static_cast<long long>(dims[1]), static_cast<long long>(dims[2]),
                        static_cast<long long>(dims[3]));
    }
  }
  return true;
}

constexpr int64_t kMaxDivisor = int64_t{1} << 31;  // of the gradient of average pooling

inline int64_t greatest_common_divisor(int64_t a, int64_t b) {
  while (b != 0) {
    const int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

// What a window at position o counts along an axis.
constexpr int64_t axis_count(const WindowAxis& a, int64_t o, bool include_pad) {
  return include_pad ? a.window : a.last(o) - a.first(o);
}

// The least common multiple of the counts of all positions; 0 where it passes kMaxDivisor. Only
// windows that reach into the padding, at most `before` and `after` many, have counts of their own.
inline int64_t axis_divisor(const WindowAxis& a, bool include_pad) {
  if (include_pad) return a.window;
  int64_t divisor = 1;
  const auto take = [&](int64_t o) {
    const int64_t count = axis_count(a, o, false);
    divisor = divisor / greatest_common_divisor(divisor, count) * count;
    return divisor <= kMaxDivisor;
  };
  int64_t from = 0, to = a.out();
  for (; from < to && a.start(from) < 0; ++from) {
    if (!take(from)) return 0;
  }
  for (; from < to && a.start(to - 1) + a.extent() > a.in; --to) {
    if (!take(to - 1)) return 0;
  }
  return from < to && !take(from) ? 0 : divisor;
}

// The same over windows: counts are products, and so is their least common multiple.
inline int64_t window_divisor(const Window2d& window, bool include_pad) {
  const int64_t divisor = axis_divisor(window.h, include_pad) * axis_divisor(window.w, include_pad);
  return divisor <= kMaxDivisor ? divisor : 0;
}

// The most windows along an axis that read one element: taps k with (h + before - k * dilation)
// divisible by the stride, at most one position each.
inline int64_t axis_overlap(const WindowAxis& a) {
  // Taps this far apart read the same element.
  const int64_t period = a.stride / greatest_common_divisor(a.stride, a.dilation);
  const int64_t taps = (a.window - 1) / period + 1;
  return taps < a.out() ? taps : a.out();
}

inline uint64_t window_overlap(const Window2d& window) {
  return static_cast<uint64_t>(axis_overlap(window.h)) *
         static_cast<uint64_t>(axis_overlap(window.w));
}

}  // namespace gvm
