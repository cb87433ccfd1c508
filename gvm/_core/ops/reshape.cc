#include "op.h"

namespace gvm {

namespace {
enum { kShape };
}

// Examples stay whole: the products of the dimensions before and after the batch axis are kept.
bool infer_reshape(Check& check) {
  const Type& x = check.in[0];
  const std::vector<int64_t>& shape = check.list(kShape);
  int batch_axes = 0;
  for (const int64_t d : shape) {
    if (d == 0) return check.fail(Status::bad_shape, "shape must be at least 1, received 0");
    if (d == kBatch) ++batch_axes;
  }
  const int needed = x.batched() ? 1 : 0;
  if (batch_axes != needed) {
    return check.fail(Status::bad_batch, "shape must have %d batch axes, received %d", needed,
                      batch_axes);
  }
  Type out = make_type(x.dtype, x.fraction_bits, shape, x.partial);
  out.bound = x.bound;
  const int64_t elements = out.elements_per_example();
  if (elements != x.elements_per_example()) {
    return check.fail(Status::bad_shape, "elements must be %lld, received %lld",
                      static_cast<long long>(x.elements_per_example()),
                      static_cast<long long>(elements));
  }
  if (x.batched()) {
    const int64_t before = x.product(0, x.batch_axis());
    const int64_t received = out.product(0, out.batch_axis());
    if (before != received) {
      return check.fail(Status::bad_batch,
                        "elements before the batch axis must be %lld, received %lld",
                        static_cast<long long>(before), static_cast<long long>(received));
    }
  }
  check.out[0] = out;
  return true;
}

}  // namespace gvm
