#include "ops/optimizer.h"

namespace gvm {

bool infer_sgd(Check& check) {
  if (!check_update(check, 1, 2)) return false;
  const int64_t e = check.in[0].fraction_bits - check.in[1].fraction_bits - check.attr(1);
  if (e < -60 || e > 40) {
    return check.fail(Status::bad_type,
                      "F(w) - F(gradient) - exponent must be in [-60, 40], received %lld",
                      static_cast<long long>(e));
  }
  check.out[0] = check.in[0];
  return true;
}

}  // namespace gvm
