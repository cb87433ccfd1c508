#include "ops/broadcast.h"

namespace gvm {

namespace {
enum { kDirection, kDtype, kFractionBits };
}

bool infer_div(Check& check) {
  const Type &a = check.in[0], &b = check.in[1];
  if (!check.require_not_partial() ||
      !check.require_dtype(0, {DType::i64, DType::i32, DType::i16}) ||
      !check.require_dtype(1, {DType::i32, DType::i16})) {
    return false;
  }
  std::vector<int64_t> dims;
  if (!broadcast_shapes(check, check.dims(0), check.dims(1), &dims)) return false;
  const int64_t fraction_bits = check.attr(kFractionBits);
  const int shift = static_cast<int>(fraction_bits) + b.fraction_bits - a.fraction_bits;
  if (!require_quotient(check, a.bound, b.bound, shift)) return false;
  const Type like = make_type(a.dtype, a.fraction_bits, dims);
  if (!check.set_rounded(0, like, check.attr(kDtype), fraction_bits)) return false;
  check.multiply_adds = check.out[0].elements();
  return true;
}

}  // namespace gvm
