#include <limits>

#include "op.h"

namespace gvm {

namespace {
enum { kAxis };
}

bool infer_argmax(Check& check) {
  const Type& x = check.in[0];
  const int64_t axis = check.attr(kAxis);
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16, DType::i32})) {
    return false;
  }
  if (axis >= x.rank) {
    return check.fail(Status::bad_attribute, "axis must be below the rank of %d, received %lld",
                      x.rank, static_cast<long long>(axis));
  }
  if (x.dims[axis] == kBatch) {
    return check.fail(Status::bad_batch, "axis must not be the batch axis, received %lld",
                      static_cast<long long>(axis));
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
