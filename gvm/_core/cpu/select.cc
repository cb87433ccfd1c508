#include "cpu/strided.h"

namespace gvm {

namespace {

// out[i] = condition[i] ? a[i] : b[i]; the step of a broadcast operand is 0.
template <typename T>
void select_row(const uint8_t* condition, int64_t step, const T* a, int64_t step_a, const T* b,
                int64_t step_b, T* out, int64_t n) {
  if (step == 0) {
    const T* from = *condition != 0 ? a : b;
    const int64_t by = *condition != 0 ? step_a : step_b;
    for (int64_t i = 0; i < n; ++i) out[i] = from[i * by];
  } else if (step_a == 1 && step_b == 1) {
    for (int64_t i = 0; i < n; ++i) out[i] = condition[i] != 0 ? a[i] : b[i];
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = condition[i] != 0 ? a[i * step_a] : b[i * step_b];
  }
}

Status run(const Call& call) {
  const Tensor& out = call.out[0];
  Nest<3> nest;
  const auto condition = broadcast_strides(call.in[0], out.type.rank);
  const auto first = broadcast_strides(call.in[1], out.type.rank);
  const auto second = broadcast_strides(call.in[2], out.type.rank);
  for (int i = 0; i < out.type.rank; ++i) {
    const size_t at = static_cast<size_t>(i);
    nest.push(out.dims[i], {condition[at], first[at], second[at]});
  }
  with_narrow(out.type.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T *a = call.in[1].as<T>(), *b = call.in[2].as<T>();
    const uint8_t* truth = call.in[0].as<uint8_t>();
    for_ranges(call, out.elements, kGrain, [&](int64_t begin, int64_t end) {
      for_rows(nest, begin, end, [&](int64_t element, const int64_t* at, int64_t count) {
        select_row(truth + at[0], nest.inner_stride(0), a + at[1], nest.inner_stride(1), b + at[2],
                   nest.inner_stride(2), out.as<T>() + element, count);
      });
    });
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_select = {run};

}  // namespace gvm
