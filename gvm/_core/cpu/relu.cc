#include "cpu/strided.h"

namespace gvm {

namespace {

template <typename T>
void relu(const T* x, T* out, int64_t n) {
  GVM_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] > 0 ? x[i] : T{0};
}

Status run(const Call& call) {
  with_narrow(call.in[0].type.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* x = call.in[0].as<T>();
    T* out = call.out[0].as<T>();
    for_ranges(call, call.out[0].elements, kGrain,
               [&](int64_t begin, int64_t end) { relu(x + begin, out + begin, end - begin); });
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_relu = {run, false, true, false};

}  // namespace gvm
