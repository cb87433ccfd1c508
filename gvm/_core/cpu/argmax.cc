#include "cpu/strided.h"

namespace gvm {

namespace {

enum { kAxis };

// Result i is the first largest of n elements that are `inside` apart.
template <typename T>
void positions(const Call& call, int64_t n, int64_t inside) {
  const T* x = call.in[0].as<T>();
  int32_t* out = call.out[0].as<int32_t>();
  for_ranges(call, call.out[0].elements, kGrain / n + 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* row = x + i / inside * n * inside + i % inside;
      T largest = row[0];
      int64_t position = 0;
      for (int64_t k = 1; k < n; ++k) {
        if (row[k * inside] <= largest) continue;
        largest = row[k * inside];
        position = k;
      }
      out[i] = static_cast<int32_t>(position);
    }
  });
}

Status run(const Call& call) {
  const Tensor& x = call.in[0];
  const int64_t axis = call.attr(kAxis);
  int64_t inside = 1;
  for (int64_t i = axis + 1; i < x.type.rank; ++i) inside *= x.dims[i];
  with_narrow(x.type.dtype,
              [&](auto zero) { positions<decltype(zero)>(call, x.dims[axis], inside); });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_argmax = {run};

}  // namespace gvm
