#include "ops/normalization.h"

namespace gvm {

bool infer_normalize_grad(Check& check) {
  const Type &x = check.in[0], &h = check.in[1];
  int64_t n = 0;
  if (!require_groups(check, &n) || !check.require_dtype(1, {DType::i16, DType::i32}) ||
      !check.require_same_shape(0, 1)) {
    return false;
  }
  const GradientShifts shifts = gradient_shifts(
      n, x.fraction_bits, h.fraction_bits, static_cast<int>(check.attr(kNormalizedFractionBits)));
  // |P| * 2^u, then |w| * 2^(f + t - u) and r * 2^-(f + t - u) for every t.
  const int product = 2 * group_bits(n) + bit_length(x.bound) + bit_length(h.bound) + 1;
  const int w = gradient_bits(n, x.bound, h.bound, shifts.ratio);
  const int up = std::max(0, shifts.formats + kMostRootShift - shifts.ratio);
  const int down = std::max(0, shifts.ratio - shifts.formats - kLeastRootShift);
  const int bits = std::max({product + shifts.ratio, w + up, kRootBits + down});
  if (bits > kNormalizationBits) {
    return check.fail(Status::unproved_bound,
                      "dividends and divisors must stay within 2^%d, they may reach %d bits",
                      kNormalizationBits, bits);
  }
  if (!check.set_rounded(0, x, check.attr(kNormalizedDtype), check.attr(kNormalizedFractionBits))) {
    return false;
  }
  check.multiply_adds = check.out[0].elements() * 4;
  return true;
}

}  // namespace gvm
