#include "op.h"
#include "ops/table.h"

namespace gvm {

bool infer_gather(Check& check) {
  const Type &x = check.in[0], &indices = check.in[1];
  if (!check.require_dtype(0, {DType::i16, DType::i32}) || !check.require_shared(0) ||
      !check.require_rank(0, 1, kMaxRank) || !require_indices(check, 1, x.dims[0])) {
    return false;
  }
  const int rank = indices.rank + x.rank - 1;
  if (rank > kMaxRank) {
    return check.fail(Status::bad_shape, "rank of the result must be in [0, %d], received %d",
                      kMaxRank, rank);
  }
  std::vector<int64_t> dims = check.dims(1);
  dims.insert(dims.end(), x.dims + 1, x.dims + x.rank);
  check.out[0] = make_type(x.dtype, x.fraction_bits, dims);
  check.out[0].bound = x.bound;
  return true;
}

}  // namespace gvm
