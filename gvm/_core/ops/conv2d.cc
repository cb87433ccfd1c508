#include "ops/convolution.h"

namespace gvm {

// x [B, H, W, C], w [kh, kw, C / groups, O] to [B, Ho, Wo, O].
// Attributes: strides, padding, dilation, groups.
bool infer_conv2d(Check& check) {
  if (!check.require_not_partial() || !check_images(check, 0) || !check_kernel(check, 1)) {
    return false;
  }
  const Type& x = check.in[0];
  const Type& w = check.in[1];
  const Convolution c = make_convolution(check.attributes, x.dims[1], x.dims[2], x.dims[3],
                                         w.dims[0], w.dims[1], w.dims[3]);
  if (!check_convolution(check, c)) return false;
  if (w.dims[2] != c.group_channels()) {
    return check.fail(Status::bad_shape, "kernel must have %lld channels per group, received %lld",
                      static_cast<long long>(c.group_channels()),
                      static_cast<long long>(w.dims[2]));
  }
  const uint64_t terms = static_cast<uint64_t>(w.product(0, 3));
  const uint64_t bound = bound_mul(terms, bound_mul(x.bound, w.bound));
  const std::vector<int64_t> dims = {x.dims[0], c.window.h.out(), c.window.w.out(), c.filters};
  if (!check.set_exact(0, dims, x.fraction_bits + w.fraction_bits, bound)) return false;
  check.multiply_adds = c.multiply_adds(x);
  return true;
}

}  // namespace gvm
