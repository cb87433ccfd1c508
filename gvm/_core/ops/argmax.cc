#include <limits>

#include "ops/broadcast.h"

namespace gvm {

namespace {
enum { kAxis };
}

bool infer_argmax(Check& check) {
  const Type& x = check.in[0];
  const int64_t axis = check.attr(kAxis);
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16, DType::i32}) ||
      !require_axis_without_batch(check, axis)) {
    return false;
  }
  if (x.dims[axis] > std::numeric_limits<int32_t>::max()) {
    return check.fail(Status::bad_shape, "the axis must have a size below 2^31, received %lld",
                      static_cast<long long>(x.dims[axis]));
  }
  std::vector<int64_t> dims = check.dims(0);
  dims.erase(dims.begin() + axis);
  check.out[0] = make_type(DType::i32, 0, dims);
  return true;
}

}  // namespace gvm
