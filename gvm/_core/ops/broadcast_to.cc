#include "ops/broadcast.h"

namespace gvm {

namespace {
enum { kShape };
}

bool infer_broadcast_to(Check& check) {
  const Type& x = check.in[0];
  const std::vector<int64_t>& shape = check.list(kShape);
  if (!check.require_not_partial()) return false;
  const int missing = static_cast<int>(shape.size()) - x.rank;
  if (missing < 0) {
    return check.fail(Status::bad_shape, "shape must have the rank of x, %d, or more, received %zu",
                      x.rank, shape.size());
  }
  for (const int64_t d : shape) {
    if (d == 0) return check.fail(Status::bad_shape, "shape must be at least 1, received 0");
  }
  for (int i = 0; i < x.rank; ++i) {
    const int64_t from = x.dims[i], to = shape[static_cast<size_t>(missing + i)];
    if (from == to || from == 1) continue;
    if (from == kBatch || to == kBatch) {
      return check.fail(Status::bad_batch,
                        "dimension %d must keep the batch axis or be 1, received %lld to %lld", i,
                        static_cast<long long>(from), static_cast<long long>(to));
    }
    return check.fail(Status::bad_shape,
                      "dimension %d must be 1 or equal to broadcast, received %lld to %lld", i,
                      static_cast<long long>(from), static_cast<long long>(to));
  }
  check.out[0] = make_type(x.dtype, x.fraction_bits, shape);
  check.out[0].bound = x.bound;
  return true;
}

}  // namespace gvm
