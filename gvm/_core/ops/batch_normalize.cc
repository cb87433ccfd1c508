#include "ops/batch_normalization.h"

namespace gvm {

namespace {

bool require_inputs(Check& check, size_t wanted) {
  if (check.in.size() == wanted) return true;
  return check.fail(Status::bad_graph, "inputs of kind %lld must be %zu, received %zu",
                    static_cast<long long>(check.attr(kChannelKind)), wanted, check.in.size());
}

// Kinds 0 and 1: parameters [C] from input `from` on, and a result like x.
bool infer_rows(Check& check, int from, int to) {
  const Type& x = check.in[0];
  for (int i = from; i < to; ++i) {
    if (!check.require_dtype(i, {DType::i32, DType::i16}) ||
        !require_channels(check, i, x.dims[x.rank - 1])) {
      return false;
    }
  }
  if (!check.set_rounded(0, x, check.attr(kBatchDtype), check.attr(kBatchFractionBits))) {
    return false;
  }
  check.multiply_adds = x.elements();
  return true;
}

// Both sides of the quotients of kinds 2 and 3.
bool infer_running(Check& check, bool variance) {
  const Type &running = check.in[0], &s = check.in[1];
  if (check.attr(kBatchDtype) != static_cast<int64_t>(running.dtype)) {
    return check.fail(Status::bad_attribute, "dtype must be that of input 0, %s, received %lld",
                      dtype_name(running.dtype), static_cast<long long>(check.attr(kBatchDtype)));
  }
  if (check.attr(kBatchFractionBits) != running.fraction_bits) {
    return check.fail(
        Status::bad_attribute, "fraction_bits must be those of input 0, %d, received %lld",
        running.fraction_bits, static_cast<long long>(check.attr(kBatchFractionBits)));
  }
  const int up = running.fraction_bits - (variance ? 2 : 1) * s.fraction_bits;
  const int n = count_bits(check, 3), divisor = (variance ? 2 * n : n) + kKeepBits;
  const int added = variance ? n + bit_length(check.in[2].bound) : total_bits(check, 1, 3);
  const int kept = divisor + bit_length(running.bound) + std::max(0, -up);
  const int now = kKeepBits + 1 + added + std::max(0, up);
  if (!require_bits(check, std::max(kept, now) + 1, kChannelBits)) return false;
  return check.set_rounded(0, running, check.attr(kBatchDtype), check.attr(kBatchFractionBits));
}

}  // namespace

// A line needs no more proof: its slope is below 2^31 or the largest of 32 bits, its intercept at
// most 2^61 and a half of 2^29, x has 15 bits.
bool infer_batch_normalize(Check& check) {
  const int64_t kind = check.attr(kChannelKind);
  if (!check.require_not_partial()) return false;
  if (!require_inputs(check, kind == kInTraining ? 6 : kind == kInUse ? 5 : 4)) return false;
  if (kind == kRunningMean || kind == kRunningVariance) {
    return require_totals(check, 1, 3) && check.require_dtype(0, {DType::i32, DType::i16}) &&
           require_channels(check, 0, check.in[1].dims[0]) &&
           infer_running(check, kind == kRunningVariance);
  }
  if (!check.require_dtype(0, {DType::i16}) || !check.require_rank(0, 1, kMaxRank)) return false;
  const Type& x = check.in[0];
  if (kind == kInUse) {
    return require_rows(check, 0, x.dims[x.rank - 1]) && infer_rows(check, 1, 5);
  }
  return require_totals(check, 1, 3) && require_rows(check, 0, check.in[1].dims[0]) &&
         require_positions(check, 0) &&
         require_fraction_bits(check, 0, check.in[1].fraction_bits) && infer_rows(check, 4, 6);
}

}  // namespace gvm
