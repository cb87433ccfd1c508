#include "cpu/divide.h"

namespace gvm {

namespace {

enum { kDivisor, kDtype, kFractionBits, kRounding };

Status run(const Call& call) {
  divide_tensor(call, call.attr(kDivisor), static_cast<Rounding>(call.attr(kRounding)));
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_divide = {run};

}  // namespace gvm
