#include "ops/broadcast.h"

namespace gvm {

bool infer_select(Check& check) {
  if (!check.require_dtype(0, {DType::boolean}) || !infer_choice(check, 1, 2)) return false;
  Type& out = check.out[0];
  const std::vector<int64_t> chosen(out.dims, out.dims + out.rank);
  std::vector<int64_t> dims;
  if (!broadcast_shapes(check, check.dims(0), chosen, &dims)) return false;
  const uint64_t bound = out.bound;
  out = make_type(out.dtype, out.fraction_bits, dims);
  out.bound = bound;
  return true;
}

}  // namespace gvm
