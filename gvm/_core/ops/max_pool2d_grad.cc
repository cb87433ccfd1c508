#include "ops/pool.h"

namespace gvm {

bool infer_max_pool2d_grad(Check& check) {
  const Type &x = check.in[0], &delta = check.in[1];
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16, DType::i32}) ||
      !check.require_dtype(1, {DType::i16}) || !require_images(check, 0)) {
    return false;
  }
  const Window2d window = pool_window(check.attributes, 0, x.dims[1], x.dims[2]);
  if (!require_pool(check, window) || !require_pooled(check, 1, pooled_dims(x, window))) {
    return false;
  }
  check.multiply_adds = pool_reads(delta, window);
  return check.set_exact(0, check.dims(0), delta.fraction_bits,
                         bound_mul(delta.bound, window_overlap(window)));
}

}  // namespace gvm
