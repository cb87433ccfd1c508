#include "ops/broadcast.h"

namespace gvm {

namespace {
enum { kAxis };
}

bool infer_cumsum(Check& check) {
  const Type& x = check.in[0];
  const int64_t axis = check.attr(kAxis);
  if (!check.require_not_partial() ||
      !check.require_dtype(0, {DType::i16, DType::i32, DType::i64}) ||
      !require_axis_without_batch(check, axis)) {
    return false;
  }
  return check.set_exact(0, check.dims(0), x.fraction_bits,
                         bound_mul(x.bound, static_cast<uint64_t>(x.dims[axis])));
}

}  // namespace gvm
