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

// The most windows along an axis that read one element: taps k with (h + before - k * dilation)
// divisible by the stride, at most one position each.
inline int64_t axis_overlap(const WindowAxis& a) {
  int64_t step = a.stride, rest = a.dilation;
  while (rest != 0) {
    const int64_t next = step % rest;
    step = rest;
    rest = next;
  }
  const int64_t period = a.stride / step;  // taps this far apart read the same element
  const int64_t taps = (a.window - 1) / period + 1;
  return taps < a.out() ? taps : a.out();
}

inline uint64_t window_overlap(const Window2d& window) {
  return static_cast<uint64_t>(axis_overlap(window.h)) *
         static_cast<uint64_t>(axis_overlap(window.w));
}

}  // namespace gvm
