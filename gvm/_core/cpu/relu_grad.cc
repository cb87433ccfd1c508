#include "cpu/masked.h"

namespace gvm {

namespace {

template <typename Y>
struct Positive {
  template <typename Delta>
  static bool test(Y y, Delta) {
    return y > 0;
  }
};

}  // namespace

extern const Kernel kernel_relu_grad = {run_masked<Positive>, false, true, false};

}  // namespace gvm
