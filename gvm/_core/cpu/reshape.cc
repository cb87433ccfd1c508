#include <cstring>

#include "cpu/kernel.h"

namespace gvm {

namespace {

// The same bytes under another shape: runs only where the result has a place of its own.
Status run(const Call& call) {
  const Tensor& x = call.in[0];
  std::memcpy(call.out[0].data, x.data,
              static_cast<size_t>(x.elements * dtype_bytes(x.type.dtype)));
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_reshape = {run, false, false, true};

}  // namespace gvm
