#include "ops/convolution.h"

namespace gvm {

// x [B, H, W, C], d [B, Ho, Wo, O] to [kh, kw, C / groups, O].
// Attributes: strides, padding, dilation, groups, kernel (kh, kw).
bool infer_conv2d_grad_weight(Check& check) {
  if (!check.require_not_partial() || !check_images(check, 0) || !check_images(check, 1)) {
    return false;
  }
  const Type& x = check.in[0];
  const Type& d = check.in[1];
  const std::vector<int64_t>& kernel = check.list(kConvolutionOwn);
  const Convolution c = make_convolution(check.attributes, x.dims[1], x.dims[2], x.dims[3],
                                         kernel[0], kernel[1], d.dims[3]);
  if (!check_convolution(check, c) || !check_result(check, c, d)) return false;
  if (x.dims[0] != d.dims[0]) {
    return check.fail(Status::bad_shape, "first dimensions must agree, received %lld and %lld",
                      static_cast<long long>(x.dims[0]), static_cast<long long>(d.dims[0]));
  }
  const int64_t examples = x.batched() ? check.max_batch : x.dims[0];
  const int64_t terms = saturating_mul(examples, d.product(1, 3));
  const uint64_t bound = bound_mul(static_cast<uint64_t>(terms), bound_mul(x.bound, d.bound));
  const std::vector<int64_t> dims = {kernel[0], kernel[1], c.group_channels(), c.filters};
  if (!check.set_exact(0, dims, x.fraction_bits + d.fraction_bits, bound, x.batched())) {
    return false;
  }
  check.multiply_adds = c.multiply_adds(x);
  return true;
}

}  // namespace gvm
