#include "cpu/binary.h"

namespace gvm {

namespace {

Status run(const Call& call) {
  with_narrow(call.out[0].type.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto smaller = [](T a, T b) { return b < a ? b : a; };
    binary<T>(call, smaller, call.in[0].as<T>(), call.in[1].as<T>());
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_minimum = {run};

}  // namespace gvm
