// Convolutions as matrix products: the lines that the GEMM engine packs are gathered from images as
// they are needed. See ops/convolution.h for the shapes.
#pragma once

#include <vector>

#include "cpu/linear.h"
#include "ops/convolution.h"

namespace gvm {

// One axis of a window: element k of position o reads o * stride - before + k * dilation, which is
// zero outside [0, in). `before` may be negative.
struct GatherAxis {
  int64_t in = 1, window = 1, stride = 1, before = 0, dilation = 1, out = 1;
};

GatherAxis gather_axis(const WindowAxis& axis);

// Positions [image, row, column] and what each reads: window.h * window.w * channels terms, channel
// innermost, of channels [first_channel, first_channel + channels) of images
// [images, h.in, w.in, image_channels].
struct Gather {
  const int16_t* data = nullptr;
  int64_t images = 0;
  int64_t image_channels = 1, first_channel = 0, channels = 1;
  GatherAxis h, w;

  int64_t positions() const { return images * h.out * w.out; }
  int64_t terms() const { return h.window * w.window * channels; }
};

// Lines are positions, terms are what they read. Keeps a pointer to `gather`.
LineSource positions_as_lines(const Gather& gather);

// Lines are what positions read, terms are the positions. Keeps a pointer to `gather`.
LineSource positions_as_terms(const Gather& gather);

// Kernels w [kh, kw, channels, filters] seen from the channels: line c has the terms (r, s, o) for
// r of `rows`, s of `columns` and o in [first_filter, first_filter + group_filters).
struct KernelChannels {
  const int16_t* data = nullptr;
  int64_t width = 1, channels = 1, filters = 1;  // kw, channels per group and all filters of w
  int64_t first_filter = 0, group_filters = 1;
  std::vector<int64_t> rows, columns;
};
LineSource channels_as_lines(const KernelChannels& kernel);

// So many groups of so few channels that a matrix product would be mostly padding.
bool is_thin(const Convolution& c);

}  // namespace gvm
