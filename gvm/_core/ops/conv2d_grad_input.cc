#include "ops/convolution.h"

namespace gvm {

// d [B, Ho, Wo, O], w [kh, kw, C / groups, O] to [B, H, W, C].
// Attributes: strides, padding, dilation, groups, size (H, W).
bool infer_conv2d_grad_input(Check& check) {
  if (!check.require_not_partial() || !check_images(check, 0) || !check_kernel(check, 1)) {
    return false;
  }
  const Type& d = check.in[0];
  const Type& w = check.in[1];
  const std::vector<int64_t>& size = check.list(kConvolutionOwn);
  const int64_t channels = saturating_mul(w.dims[2], check.attr(kGroups));
  const Convolution c = make_convolution(check.attributes, size[0], size[1], channels, w.dims[0],
                                         w.dims[1], w.dims[3]);
  if (!check_convolution(check, c) || !check_result(check, c, d)) return false;
  if (d.dims[3] != c.filters) {
    return check.fail(Status::bad_shape, "gradient must have %lld filters, received %lld",
                      static_cast<long long>(c.filters), static_cast<long long>(d.dims[3]));
  }
  // A pixel meets each kernel element at most once, and there every filter of its group.
  const uint64_t terms = static_cast<uint64_t>(c.window.elements() * c.group_filters());
  const uint64_t bound = bound_mul(terms, bound_mul(d.bound, w.bound));
  const std::vector<int64_t> dims = {d.dims[0], size[0], size[1], channels};
  if (!check.set_exact(0, dims, d.fraction_bits + w.fraction_bits, bound)) return false;
  check.multiply_adds = c.multiply_adds(d);
  return true;
}

}  // namespace gvm
