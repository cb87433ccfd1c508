#include "cpu/copy.h"

namespace gvm {

namespace {

enum { kBefore, kAfter };

Status run(const Call& call) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const auto from = dense_strides(x.dims, x.type.rank);
  const auto to = dense_strides(out.dims, out.type.rank);
  Nest<2> nest;
  int64_t first = 0;
  for (int i = 0; i < x.type.rank; ++i) {
    const size_t at = static_cast<size_t>(i);
    first += call.list(kBefore)[at] * to[at];
    nest.push(x.dims[i], {from[at], to[at]});
  }
  with_size(x.type.dtype, [&](auto zero) {
    using T = decltype(zero);
    for_ranges(call, out.elements, kGrain, [&](int64_t begin, int64_t end) {
      std::fill(out.as<T>() + begin, out.as<T>() + end, T{0});
    });
    copy_nest(call, nest, x.as<T>(), out.as<T>() + first);
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_pad = {run};

}  // namespace gvm
