#include <limits>

#include "ops/broadcast.h"

namespace gvm {

namespace {
enum { kCount, kAxis };
}

bool infer_top_k(Check& check) {
  const Type& x = check.in[0];
  const int64_t count = check.attr(kCount), axis = check.attr(kAxis);
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16, DType::i32}) ||
      !require_axis_without_batch(check, axis)) {
    return false;
  }
  if (x.dims[axis] > std::numeric_limits<int32_t>::max()) {
    return check.fail(Status::bad_shape, "the axis must have a size below 2^31, received %lld",
                      static_cast<long long>(x.dims[axis]));
  }
  if (count > x.dims[axis]) {
    return check.fail(Status::bad_attribute, "k must be at most the axis of %lld, received %lld",
                      static_cast<long long>(x.dims[axis]), static_cast<long long>(count));
  }
  check.out[0] = x;
  check.out[0].dims[axis] = count;
  check.out[1] = make_type(DType::i32, 0, check.dims(0));
  check.out[1].dims[axis] = count;
  return true;
}

}  // namespace gvm
