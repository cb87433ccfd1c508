#include "cpu/softmax.h"

namespace gvm {

namespace {

Status run(const Call& call) {
  const int32_t* labels = call.in[1].as<int32_t>();
  if (!check_labels(call, labels, call.in[1].elements, call.in[0].dims[1])) {
    return Status::bad_input;
  }
  Exponentials own;
  const Exponentials* tables = find_exponentials(call, call.in[0].type.fraction_bits, &own);
  if (tables == nullptr) return Status::internal;
  with_narrow(call.in[0].type.dtype,
              [&](auto zero) { softmax_rows<decltype(zero)>(call, *tables, labels); });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_softmax_cross_entropy_grad = {run};

}  // namespace gvm
