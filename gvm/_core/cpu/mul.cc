#include "cpu/binary.h"

namespace gvm {

namespace {

struct Product {
  int64_t operator()(int64_t a, int64_t b) const { return a * b; }
};

Status run(const Call& call) {
  const Tensor &a = call.in[0], &b = call.in[1];
  with_narrow(a.type.dtype, [&](auto zero_a) {
    with_narrow(b.type.dtype, [&](auto zero_b) {
      binary<int64_t>(call, Product{}, a.as<decltype(zero_a)>(), b.as<decltype(zero_b)>());
    });
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_mul = {run};

}  // namespace gvm
