#include "ops/broadcast.h"
#include "ops/pool.h"

namespace gvm {

namespace {
enum { kSize, kWindow, kStrides, kPadding, kDilation, kCountIncludePad, kDtype, kFractionBits };
}

bool infer_avg_pool2d_grad(Check& check) {
  const Type& delta = check.in[0];
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16, DType::i32}) ||
      !require_images(check, 0)) {
    return false;
  }
  const std::vector<int64_t>& size = check.list(kSize);
  const Window2d window = pool_window(check.attributes, kWindow, size[0], size[1]);
  if (!require_pool(check, window) || !require_pooled(check, 0, pooled_dims(delta, window))) {
    return false;
  }
  const int64_t divisor = window_divisor(window, check.attr(kCountIncludePad) != 0);
  if (divisor == 0) {
    return check.fail(Status::bad_shape,
                      "the least common multiple of the windows' counts must be at most 2^31");
  }
  // Each of the windows over a pixel adds delta * (divisor / count).
  const uint64_t sum =
      bound_mul(bound_mul(delta.bound, window_overlap(window)), static_cast<uint64_t>(divisor));
  if (sum > kMaxBound) {
    return check.fail(Status::unproved_bound,
                      "the sum over a pixel's windows must stay within 2^62, divisor %lld",
                      static_cast<long long>(divisor));
  }
  const int64_t fraction_bits = check.attr(kFractionBits);
  if (!require_quotient(check, sum, static_cast<uint64_t>(divisor),
                        static_cast<int>(fraction_bits) - delta.fraction_bits)) {
    return false;
  }
  const Type like =
      make_type(delta.dtype, delta.fraction_bits, {delta.dims[0], size[0], size[1], delta.dims[3]});
  check.multiply_adds = pool_reads(delta, window);
  return check.set_rounded(0, like, check.attr(kDtype), fraction_bits);
}

}  // namespace gvm
