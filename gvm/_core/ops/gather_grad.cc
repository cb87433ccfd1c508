#include "op.h"
#include "ops/table.h"

namespace gvm {

namespace {
enum { kSize };
}

bool infer_gather_grad(Check& check) {
  const Type &delta = check.in[0], &indices = check.in[1];
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16, DType::i32}) ||
      !require_indices(check, 1, check.attr(kSize))) {
    return false;
  }
  if (delta.rank < indices.rank || delta.rank - indices.rank >= kMaxRank) {
    return check.fail(Status::bad_shape,
                      "delta must have the axes of indices and at most %d more, received rank %d "
                      "for rank %d",
                      kMaxRank - 1, delta.rank, indices.rank);
  }
  for (int i = 0; i < delta.rank; ++i) {
    if (i < indices.rank && delta.dims[i] == indices.dims[i]) continue;
    if (i >= indices.rank && delta.dims[i] != kBatch) continue;
    return check.fail(i < indices.rank ? Status::bad_shape : Status::bad_batch,
                      "the first axes of delta must be those of indices, received %lld at axis %d",
                      static_cast<long long>(delta.dims[i]), i);
  }
  const uint64_t most = static_cast<uint64_t>(indices.elements().at(check.max_batch));
  std::vector<int64_t> dims = {check.attr(kSize)};
  dims.insert(dims.end(), delta.dims + indices.rank, delta.dims + delta.rank);
  return check.set_exact(0, dims, delta.fraction_bits, bound_mul(most, delta.bound),
                         indices.batched());
}

}  // namespace gvm
