#include <algorithm>

#include "op.h"

namespace gvm {

namespace {
enum { kAxis };
}

bool infer_concat(Check& check) {
  const int64_t axis = check.attr(kAxis);
  if (!check.require_not_partial()) return false;
  Type out = check.in[0];
  if (axis >= out.rank) {
    return check.fail(Status::bad_attribute, "axis must be below the rank of %d, received %lld",
                      out.rank, static_cast<long long>(axis));
  }
  if (out.dims[axis] == kBatch) {
    return check.fail(Status::bad_batch, "axis must not be the batch axis, received %lld",
                      static_cast<long long>(axis));
  }
  for (size_t i = 1; i < check.in.size(); ++i) {
    const Type& x = check.in[i];
    if (!check.require_dtype(static_cast<int>(i), {out.dtype})) return false;
    if (x.fraction_bits != out.fraction_bits) {
      return check.fail(Status::bad_type, "input %zu must have %d fraction bits, received %d", i,
                        out.fraction_bits, x.fraction_bits);
    }
    if (!check.require_rank(static_cast<int>(i), out.rank, out.rank)) return false;
    for (int d = 0; d < out.rank; ++d) {
      if (d == axis && x.dims[d] != kBatch) continue;
      if (x.dims[d] == out.dims[d]) continue;
      const bool batch = x.dims[d] == kBatch || out.dims[d] == kBatch;
      return check.fail(batch ? Status::bad_batch : Status::bad_shape,
                        "input %zu: dimension %d must be %lld, received %lld", i, d,
                        static_cast<long long>(out.dims[d]), static_cast<long long>(x.dims[d]));
    }
    out.dims[axis] = saturating_add(out.dims[axis], x.dims[axis]);
    out.bound = std::max(out.bound, x.bound);
  }
  check.out[0] = out;
  return true;
}

}  // namespace gvm
