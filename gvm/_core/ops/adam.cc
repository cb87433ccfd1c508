#include "ops/optimizer.h"

namespace gvm {

namespace {
enum { kSteps, kRates, kExponent, kDecay, kDecayExponent, kBeta1, kBeta2, kEpsilon, kEpsilonBits };
}

bool infer_adam(Check& check) {
  if (!check_update(check, 3, 4) || !check_schedule(check, kSteps, kRates)) return false;
  const Type &m = check.in[1], &s = check.in[2];
  if (m.dtype != s.dtype || m.fraction_bits != s.fraction_bits) {
    return check.fail(Status::bad_type, "m and s must have one type, received F = %d and %d",
                      m.fraction_bits, s.fraction_bits);
  }
  const int64_t e = check.in[0].fraction_bits - check.attr(kExponent);
  if (e < -30 || e > 16) {
    return check.fail(Status::bad_type, "F(w) - exponent must be in [-30, 16], received %lld",
                      static_cast<long long>(e));
  }
  if (!check_moment(check, 2, 3, kEpsilonBits)) return false;
  for (size_t i = 0; i < 3; ++i) check.out[i] = check.in[i];
  return true;
}

}  // namespace gvm
