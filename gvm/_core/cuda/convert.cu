#include "cuda/kernel.h"

namespace gvm {

static Status run_convert(const Call& call) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const Site site = make_site(call, out, static_cast<Rounding>(call.attr(2)), call.site);
  const int shift = x.type.fraction_bits - out.type.fraction_bits;
  const Cells from = cells(x), to = cells(out);
  call.cuda->each(
      out.elements, GVM_EACH(int64_t i) { to.set(i, site.convert(from.get(i), shift, i)); });
  return Status::ok;
}

extern const Kernel cuda_kernel_convert;
const Kernel cuda_kernel_convert = {run_convert};

}  // namespace gvm
