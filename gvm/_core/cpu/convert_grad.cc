#include <limits>

#include "cpu/masked.h"

namespace gvm {

namespace {

// Not at a limit of the type with a step, against delta, that would push it further out.
template <typename Q>
struct NotPushedOut {
  template <typename Delta>
  static bool test(Q q, Delta delta) {
    const bool above = (q == std::numeric_limits<Q>::max()) & (delta < 0);
    const bool below = (q == std::numeric_limits<Q>::min()) & (delta > 0);
    return !(above | below);
  }
};

}  // namespace

extern const Kernel kernel_convert_grad = {run_masked<NotPushedOut>, false, true, false};

}  // namespace gvm
