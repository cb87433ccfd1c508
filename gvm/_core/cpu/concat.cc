#include "cpu/copy.h"

namespace gvm {

namespace {

enum { kAxis };

// Each operand is rows of its part of the result's rows.
Status run(const Call& call) {
  const Tensor& out = call.out[0];
  const int axis = static_cast<int>(call.attr(kAxis));
  int64_t outside = 1, inside = 1;
  for (int i = 0; i < out.type.rank; ++i) {
    if (i < axis) outside *= out.dims[i];
    if (i > axis) inside *= out.dims[i];
  }
  with_size(out.type.dtype, [&](auto zero) {
    using T = decltype(zero);
    T* to = out.as<T>();
    for (int i = 0; i < call.inputs; ++i) {
      const Tensor& x = call.in[i];
      Nest<2> nest;
      nest.push(outside, {x.dims[axis] * inside, out.dims[axis] * inside});
      nest.push(x.dims[axis] * inside, {1, 1});
      copy_nest(call, nest, x.as<T>(), to);
      to += x.dims[axis] * inside;
    }
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_concat = {run};

}  // namespace gvm
