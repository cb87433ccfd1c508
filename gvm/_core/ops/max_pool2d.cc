#include "ops/pool.h"

namespace gvm {

bool infer_max_pool2d(Check& check) {
  const Type& x = check.in[0];
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16, DType::i32}) ||
      !require_images(check, 0)) {
    return false;
  }
  const Window2d window = pool_window(check.attributes, 0, x.dims[1], x.dims[2]);
  if (!require_pool(check, window)) return false;
  check.out[0] = make_type(x.dtype, x.fraction_bits, pooled_dims(x, window));
  check.out[0].bound = x.bound;
  check.multiply_adds = pool_reads(check.out[0], window);
  return true;
}

}  // namespace gvm
