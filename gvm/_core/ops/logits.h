// What the operators on logits require (numerics section 7).
#pragma once

#include "op.h"

namespace gvm {

constexpr int kMaxLogitFractionBits = 19;
constexpr int64_t kMaxClasses = int64_t{1} << 24;
constexpr int kLossFractionBits = 24;
constexpr int64_t kLossLimit = int64_t{1} << 40;  // an example's loss is below it

// The formats of which there are tables of exponentials.
inline bool require_exponents(Check& check) {
  const int fraction_bits = check.in[0].fraction_bits;
  if (fraction_bits >= 0 && fraction_bits <= kMaxLogitFractionBits) return true;
  return check.fail(Status::bad_type, "fraction bits of input 0 must be in [0, %d], received %d",
                    kMaxLogitFractionBits, fraction_bits);
}

// Logits along the last axis, which is not the batch; `format` also asks for that of exponentials.
inline bool require_logits(Check& check, int minimum_rank, int maximum_rank, bool format) {
  const Type& x = check.in[0];
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16, DType::i32}) ||
      !check.require_rank(0, minimum_rank, maximum_rank)) {
    return false;
  }
  const int64_t classes = x.dims[x.rank - 1];
  if (classes == kBatch) {
    return check.fail(Status::bad_batch, "the last axis of input 0 must not be the batch");
  }
  if (classes > kMaxClasses) {
    return check.fail(Status::bad_shape,
                      "the last axis must have a size in [1, %lld], received %lld",
                      static_cast<long long>(kMaxClasses), static_cast<long long>(classes));
  }
  return !format || require_exponents(check);
}

// Logits [B, N] and one label for each of the B examples.
inline bool require_logits_and_labels(Check& check, bool format) {
  if (!require_logits(check, 2, 2, format) || !check.require_dtype(1, {DType::i32})) return false;
  const Type& labels = check.in[1];
  if (labels.fraction_bits != 0) {
    return check.fail(Status::bad_type, "labels must have 0 fraction bits, received %d",
                      labels.fraction_bits);
  }
  if (labels.rank != 1 || labels.dims[0] != check.in[0].dims[0]) {
    return check.fail(Status::bad_shape, "labels must have the shape [B] of logits [B, N]");
  }
  return true;
}

// Logits [B, ...], each with a label of 0 or 1.
inline bool require_logits_and_truths(Check& check) {
  const Type &x = check.in[0], &labels = check.in[1];
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16, DType::i32}) ||
      !check.require_dtype(1, {DType::i32}) || !check.require_rank(0, 1, kMaxRank) ||
      !check.require_same_shape(0, 1)) {
    return false;
  }
  if (x.batch_axis() > 0) {
    return check.fail(Status::bad_batch, "the batch must be the first axis, received axis %d",
                      x.batch_axis());
  }
  if (labels.fraction_bits != 0) {
    return check.fail(Status::bad_type, "labels must have 0 fraction bits, received %d",
                      labels.fraction_bits);
  }
  return require_exponents(check);
}

}  // namespace gvm
