#include <algorithm>

#include "ops/optimizer.h"

namespace gvm {

namespace {
enum { kSteps, kRates, kExponent, kDecay };
}

bool infer_gradient_descent(Check& check) {
  if (!check_update(check, 2, 3) || !check_schedule(check, kSteps, kRates)) return false;
  const int more = check.in[1].fraction_bits - check.in[0].fraction_bits;
  if (more < 0 || more > 16) {
    return check.fail(Status::bad_type, "F(velocity) - F(w) must be in [0, 16], received %d", more);
  }
  const int64_t t = check.attr(kExponent) + check.in[2].fraction_bits - check.in[1].fraction_bits;
  if (t > 55) {
    return check.fail(Status::bad_type,
                      "exponent + F(gradient) - F(velocity) must be at most 55, received %lld",
                      static_cast<long long>(t));
  }
  const int64_t least = (check.attr(kDecay) != 0 ? 32 : 15) - 38;
  if (t < least) {
    return check.fail(Status::bad_type,
                      "exponent + F(gradient) - F(velocity) must be at least %lld, received %lld",
                      static_cast<long long>(least), static_cast<long long>(t));
  }
  check.out[0] = check.in[0];
  check.out[1] = check.in[1];
  return true;
}

}  // namespace gvm
