#include "cpu/binary.h"

namespace gvm {

namespace {

struct Product {
  int64_t operator()(int64_t a, int64_t b) const { return a * b; }
};

Status run(const Call& call) {
  const Tensor &a = call.in[0], &b = call.in[1];
  if (call.fused != nullptr && a.type.dtype == DType::i16 && b.type.dtype == DType::i16) {
    rows_converted<int32_t>(call, call.cpu->rows.product, a.as<int16_t>(), b.as<int16_t>());
    return Status::ok;
  }
  with_narrow(a.type.dtype, [&](auto zero_a) {
    with_narrow(b.type.dtype, [&](auto zero_b) {
      const auto* of_a = a.as<decltype(zero_a)>();
      const auto* of_b = b.as<decltype(zero_b)>();
      if (call.fused != nullptr) {
        binary_converted<int64_t>(call, Product{}, of_a, of_b);
      } else {
        binary<int64_t>(call, Product{}, of_a, of_b);
      }
    });
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_mul = {run, false, false, false, true};

}  // namespace gvm
