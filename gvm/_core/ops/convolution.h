// What conv2d, conv2d_grad_input and conv2d_grad_weight have in common: images x [B, H, W, C],
// kernels w [kh, kw, C / groups, O], results y [B, Ho, Wo, O]. Filters g * O / groups ... belong to
// group g, and channel c of group g is channel g * C / groups + c of x.
#pragma once

#include "ops/window.h"

namespace gvm {

// Positions of the attributes that all three share.
enum ConvolutionAttribute : int { kStrides = 0, kPadding = 1, kDilation = 2, kGroups = 3 };
constexpr int kConvolutionOwn = 4;  // size of conv2d_grad_input, kernel of conv2d_grad_weight

struct Convolution {
  Window2d window;
  int64_t channels = 0;  // C
  int64_t filters = 0;   // O
  int64_t groups = 1;

  int64_t group_channels() const { return channels / groups; }
  int64_t group_filters() const { return filters / groups; }
  // Products over all images of a type [B, ...], those with padding counted too.
  Count multiply_adds(const Type& images) const {
    const int64_t terms = saturating_mul(window.elements(), group_channels());
    const int64_t positions = saturating_mul(window.h.out(), window.w.out());
    const int64_t each = saturating_mul(saturating_mul(positions, filters), terms);
    return images.batched() ? Count{0, each} : Count{saturating_mul(each, images.dims[0]), 0};
  }
};

// Size of the images, channels, size of the kernel, filters; the attributes are those of the node.
inline Convolution make_convolution(const Attributes& attributes, int64_t in_h, int64_t in_w,
                                    int64_t channels, int64_t kernel_h, int64_t kernel_w,
                                    int64_t filters) {
  Convolution c;
  c.window = make_window(in_h, in_w, kernel_h, kernel_w, attributes.list(kStrides),
                         attributes.list(kPadding), attributes.list(kDilation));
  c.channels = channels;
  c.filters = filters;
  c.groups = attributes.get(kGroups);
  return c;
}

// Rank 4, i16, and no batch axis but the first.
inline bool check_images(Check& check, int input) {
  if (!check.require_dtype(input, {DType::i16}) || !check.require_rank(input, 4, 4)) return false;
  const int axis = check.in[static_cast<size_t>(input)].batch_axis();
  if (axis <= 0) return true;
  return check.fail(Status::bad_batch, "the batch axis of input %d must be the first, received %d",
                    input, axis);
}

// Rank 4, i16, shared.
inline bool check_kernel(Check& check, int input) {
  return check.require_dtype(input, {DType::i16}) && check.require_rank(input, 4, 4) &&
         check.require_shared(input);
}

// The window fits, and the groups divide channels and filters.
inline bool check_convolution(Check& check, const Convolution& c) {
  if (c.channels % c.groups != 0 || c.filters % c.groups != 0) {
    return check.fail(Status::bad_shape,
                      "groups must divide channels and filters, received %lld for %lld and %lld",
                      static_cast<long long>(c.groups), static_cast<long long>(c.channels),
                      static_cast<long long>(c.filters));
  }
  return check_window(check, c.window);
}

// d is the gradient of the result: [.., Ho, Wo, O].
inline bool check_result(Check& check, const Convolution& c, const Type& d) {
  if (d.dims[1] != c.window.h.out() || d.dims[2] != c.window.w.out()) {
    return check.fail(Status::bad_shape, "gradient must be %lld by %lld, received %lld by %lld",
                      static_cast<long long>(c.window.h.out()),
                      static_cast<long long>(c.window.w.out()), static_cast<long long>(d.dims[1]),
                      static_cast<long long>(d.dims[2]));
  }
  return true;
}

}  // namespace gvm
