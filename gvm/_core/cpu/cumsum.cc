#include "cpu/strided.h"

namespace gvm {

namespace {

enum { kAxis, kExclusive, kReverse };

// Along n rows of `inside` neighbours each, from the first or the last on.
template <typename T>
void running_sums(const T* x, int64_t n, int64_t inside, bool exclusive, bool reverse,
                  int64_t* out) {
  const int64_t step = reverse ? -inside : inside;
  const int64_t start = reverse ? (n - 1) * inside : 0;
  x += start;
  out += start;
  for (int64_t c = 0; c < inside; ++c) out[c] = exclusive ? 0 : x[c];
  for (int64_t k = 1; k < n; ++k) {
    const T* added = exclusive ? x : x + step;
    for (int64_t c = 0; c < inside; ++c) out[step + c] = out[c] + added[c];
    x += step;
    out += step;
  }
}

Status run(const Call& call) {
  const Tensor& x = call.in[0];
  const int64_t axis = call.attr(kAxis), n = x.dims[axis];
  int64_t inside = 1;
  for (int64_t i = axis + 1; i < x.type.rank; ++i) inside *= x.dims[i];
  const bool exclusive = call.attr(kExclusive) != 0, reverse = call.attr(kReverse) != 0;
  const int64_t block = n * inside;
  with_integer(x.type.dtype, [&](auto zero) {
    const auto* from = x.as<decltype(zero)>();
    int64_t* out = call.out[0].as<int64_t>();
    for_ranges(call, x.elements / block, kGrain / block + 1, [&](int64_t first, int64_t last) {
      for (int64_t at = first * block; at < last * block; at += block) {
        running_sums(from + at, n, inside, exclusive, reverse, out + at);
      }
    });
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_cumsum = {run};

}  // namespace gvm
