#include "cpu/divide.h"

namespace gvm {

namespace {

enum { kDtype, kFractionBits, kRounding };

Status run(const Call& call) {
  const int64_t count = *call.in[1].as<int64_t>();
  if (count < 1) {
    call.error->fail(Status::bad_input, "%s: count must be at least 1, received %lld",
                     call.op->name, static_cast<long long>(count));
    return Status::bad_input;
  }
  divide_tensor(call, count, static_cast<Rounding>(call.attr(kRounding)));
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_divide_by_count = {run};

}  // namespace gvm
