#include "ops/broadcast.h"
#include "ops/pool.h"

namespace gvm {

namespace {
enum { kWindow, kStrides, kPadding, kDilation, kCountIncludePad, kDtype, kFractionBits };
}

bool infer_avg_pool2d(Check& check) {
  const Type& x = check.in[0];
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16, DType::i32}) ||
      !require_images(check, 0)) {
    return false;
  }
  const Window2d window = pool_window(check.attributes, kWindow, x.dims[1], x.dims[2]);
  if (!require_pool(check, window)) return false;
  const uint64_t elements = static_cast<uint64_t>(window.elements());
  const int64_t fraction_bits = check.attr(kFractionBits);
  if (!require_quotient(check, bound_mul(x.bound, elements), elements,
                        static_cast<int>(fraction_bits) - x.fraction_bits)) {
    return false;
  }
  const Type like = make_type(x.dtype, x.fraction_bits, pooled_dims(x, window));
  check.multiply_adds = pool_reads(like, window);
  return check.set_rounded(0, like, check.attr(kDtype), fraction_bits);
}

}  // namespace gvm
