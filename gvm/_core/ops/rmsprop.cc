#include "ops/optimizer.h"

namespace gvm {

namespace {
enum { kSteps, kRates, kExponent, kRho, kEpsilon, kEpsilonBits };
}

bool infer_rmsprop(Check& check) {
  if (!check_update(check, 2, 3) || !check_schedule(check, kSteps, kRates)) return false;
  const int64_t e = check.in[0].fraction_bits - check.attr(kExponent) - 8;
  if (e < -60 || e > 40) {
    return check.fail(Status::bad_type, "F(w) - exponent - 8 must be in [-60, 40], received %lld",
                      static_cast<long long>(e));
  }
  if (!check_moment(check, 1, 2, kEpsilonBits)) return false;
  for (size_t i = 0; i < 2; ++i) check.out[i] = check.in[i];
  return true;
}

}  // namespace gvm
