#include "cpu/copy.h"

namespace gvm {

namespace {

enum { kBegin, kEnd, kStrides };

Status run(const Call& call) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const auto from = dense_strides(x.dims, x.type.rank);
  const auto to = dense_strides(out.dims, out.type.rank);
  Nest<2> nest;
  int64_t first = 0;
  for (int i = 0; i < x.type.rank; ++i) {
    const size_t at = static_cast<size_t>(i);
    first += call.list(kBegin)[at] * from[at];
    // A step beyond the axis is never taken.
    const int64_t step = std::min(call.list(kStrides)[at], x.dims[i]);
    nest.push(out.dims[i], {from[at] * step, to[at]});
  }
  with_size(x.type.dtype, [&](auto zero) {
    using T = decltype(zero);
    copy_nest(call, nest, x.as<T>() + first, out.as<T>());
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_slice = {run};

}  // namespace gvm
