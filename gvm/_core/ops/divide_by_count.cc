#include "ops/broadcast.h"

namespace gvm {

namespace {
enum { kDtype, kFractionBits };
}

bool infer_divide_by_count(Check& check) {
  const Type &x = check.in[0], &count = check.in[1];
  if (!check.require_dtype(0, {DType::i64, DType::i32}) || !check.require_shared(0) ||
      !check.require_dtype(1, {DType::i64}) || !check.require_shared(1) ||
      !check.require_rank(1, 0, 0)) {
    return false;
  }
  if (count.fraction_bits != 0) {
    return check.fail(Status::bad_type, "count must have 0 fraction bits, received %d",
                      count.fraction_bits);
  }
  const int64_t fraction_bits = check.attr(kFractionBits);
  return require_quotient(check, x.bound, count.bound,
                          static_cast<int>(fraction_bits) - x.fraction_bits) &&
         check.set_rounded(0, x, check.attr(kDtype), fraction_bits);
}

}  // namespace gvm
