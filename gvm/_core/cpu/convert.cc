#include "cpu/kernel.h"

namespace gvm {

static Status run_convert(const Call& call) {
  convert_tensor(call, call.in[0].data, call.in[0].type.dtype, call.in[0].type.fraction_bits,
                 call.out[0], static_cast<Rounding>(call.attr(2)), call.site);
  return Status::ok;
}

extern const Kernel kernel_convert;
const Kernel kernel_convert = {run_convert};

}  // namespace gvm
