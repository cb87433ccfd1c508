#include "cpu/softmax.h"

namespace gvm {

namespace {

Status run(const Call& call) {
  Exponentials own;
  const Exponentials* tables = find_exponentials(call, call.in[0].type.fraction_bits, &own);
  if (tables == nullptr) return Status::internal;
  with_narrow(call.in[0].type.dtype,
              [&](auto zero) { softmax_rows<decltype(zero)>(call, *tables, nullptr); });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_softmax = {run};

}  // namespace gvm
