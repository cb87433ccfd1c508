#include "cpu/binary.h"

namespace gvm {

namespace {

enum { kValue };

Status run(const Call& call) {
  const bool value = call.attr(kValue) != 0;
  with_integer(call.in[1].type.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto passes = [value](uint8_t c, T x) { return (c != 0) == value ? x : T{0}; };
    binary<T>(call, passes, call.in[0].as<uint8_t>(), call.in[1].as<T>());
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_mask = {run};

}  // namespace gvm
