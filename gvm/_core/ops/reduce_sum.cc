#include "ops/broadcast.h"

namespace gvm {

namespace {
enum { kAxes, kKeepdims };
}

bool infer_reduce_sum(Check& check) {
  const Type& x = check.in[0];
  const std::vector<int64_t>& axes = check.list(kAxes);
  if (!check.require_dtype(0, {DType::i16, DType::i32, DType::i64}) || !require_axes(check, axes)) {
    return false;
  }
  uint64_t terms = 1;
  bool over_batch = false;
  for (const int64_t axis : axes) {
    const bool batch = x.dims[axis] == kBatch;
    over_batch = over_batch || batch;
    terms = bound_mul(terms, static_cast<uint64_t>(batch ? check.max_batch : x.dims[axis]));
  }
  return check.set_exact(0, reduced_dims(check, axes, check.attr(kKeepdims) != 0), x.fraction_bits,
                         bound_mul(x.bound, terms), x.partial || over_batch);
}

}  // namespace gvm
