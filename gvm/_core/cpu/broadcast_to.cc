#include "cpu/copy.h"

namespace gvm {

namespace {

Status run(const Call& call) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const auto from = broadcast_strides(x, out.type.rank);
  const auto to = dense_strides(out.dims, out.type.rank);
  Nest<2> nest;
  for (int i = 0; i < out.type.rank; ++i) {
    nest.push(out.dims[i], {from[static_cast<size_t>(i)], to[static_cast<size_t>(i)]});
  }
  with_size(x.type.dtype, [&](auto zero) {
    using T = decltype(zero);
    copy_nest(call, nest, x.as<T>(), out.as<T>());
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_broadcast_to = {run};

}  // namespace gvm
