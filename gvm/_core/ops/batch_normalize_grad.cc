#include "ops/batch_normalization.h"

namespace gvm {

namespace {

enum { kSum, kSquares, kDeltaSum, kProductSum, kCount, kScale, kX, kDelta };

// Bits of K = N * P - s * H.
int product_bits(const Check& check) {
  const int whole = count_bits(check, kCount) + bit_length(check.in[kProductSum].bound);
  const int crossed = total_bits(check, kSum, kCount) + total_bits(check, kDeltaSum, kCount);
  return std::max(whole, crossed) + 1;
}

bool infer_of_scale(Check& check) {
  const Type& h = check.in[kDeltaSum];
  const int fraction_bits = static_cast<int>(check.attr(kGradFractionBits));
  const int up = fraction_bits - h.fraction_bits;
  const int bits = std::max(product_bits(check) + std::max(0, kMostChannelRootShift + up),
                            kChannelRootBits + std::max(0, -kLeastChannelRootShift - up));
  if (!require_bits(check, bits, kChannelBits)) return false;
  const uint64_t most =
      bound_mul(check.in[kCount].bound, static_cast<uint64_t>(check.attr(kPositions))) << kXBits;
  const uint64_t bound = up >= 0 ? bound_shl(most, up) : (most >> std::min(-up, 63)) + 1;
  return check.set_exact(0, check.dims(kSum), fraction_bits, bound);
}

}  // namespace

bool infer_batch_normalize_grad(Check& check) {
  const bool of_x = check.attr(kChannelKind) == kOfX;
  if (!check.require_not_partial()) return false;
  if (check.in.size() != (of_x ? 8 : 5)) {
    return check.fail(Status::bad_graph, "inputs of kind %d must be %d, received %zu",
                      of_x ? kOfX : kOfScale, of_x ? 8 : 5, check.in.size());
  }
  if (!require_totals(check, kSum, kCount)) return false;
  const Type &s = check.in[kSum], &h = check.in[kDeltaSum];
  for (const int i : {kDeltaSum, kProductSum}) {
    if (!check.require_dtype(i, {DType::i64}) || !require_channels(check, i, s.dims[0])) {
      return false;
    }
  }
  if (!require_fraction_bits(check, kProductSum, s.fraction_bits + h.fraction_bits)) return false;
  if (!of_x) return infer_of_scale(check);
  if (!check.require_dtype(kScale, {DType::i32, DType::i16}) ||
      !require_channels(check, kScale, s.dims[0]) || !require_rows(check, kX, s.dims[0]) ||
      !check.require_dtype(kDelta, {DType::i16}) || !check.require_same_shape(kX, kDelta) ||
      !require_positions(check, kX) || !require_fraction_bits(check, kX, s.fraction_bits) ||
      !require_fraction_bits(check, kDelta, h.fraction_bits)) {
    return false;
  }
  if (product_bits(check) > kMostProductBits) {
    return check.fail(Status::unproved_bound,
                      "totals of products must have at most %d bits, they may have %d",
                      kMostProductBits, product_bits(check));
  }
  const Type& x = check.in[kX];
  if (!check.set_rounded(0, x, check.attr(kGradDtype), check.attr(kGradFractionBits))) return false;
  check.multiply_adds = x.elements() * 2;
  return true;
}

}  // namespace gvm
