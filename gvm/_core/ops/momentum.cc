#include <algorithm>

#include "ops/optimizer.h"

namespace gvm {

bool infer_momentum(Check& check) {
  if (!check_update(check, 2, 3)) return false;
  const int more = check.in[1].fraction_bits - check.in[0].fraction_bits;
  if (more < 0 || more > 16) {
    return check.fail(Status::bad_type, "F(velocity) - F(w) must be in [0, 16], received %d", more);
  }
  const int64_t t = check.attr(1) + check.in[2].fraction_bits - check.in[1].fraction_bits;
  const int64_t s = std::max<int64_t>({check.attr(3), t, 0});
  if (s > 55) {
    return check.fail(Status::bad_type,
                      "exponent + F(gradient) - F(velocity) must be at most 55, received %lld",
                      static_cast<long long>(s));
  }
  if (s - t > 45) {
    return check.fail(Status::bad_type,
                      "exponent + F(gradient) - F(velocity) must be at least %lld, received %lld",
                      static_cast<long long>(s - 45), static_cast<long long>(t));
  }
  check.out[0] = check.in[0];
  check.out[1] = check.in[1];
  return true;
}

}  // namespace gvm
