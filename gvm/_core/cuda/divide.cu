#include "cuda/kernel.h"

namespace gvm {

enum { kDivisor, kDtype, kFractionBits, kRounding };

static Status run_divide(const Call& call) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const Site site = make_site(call, out, static_cast<Rounding>(call.attr(kRounding)), call.site);
  const Rescale to = rescale(x.type.fraction_bits, out.type.fraction_bits);
  const int64_t divisor = call.attr(kDivisor);
  const Cells from = cells(x), result = cells(out);
  call.cuda->each(
      out.elements, GVM_EACH(int64_t i) {
        result.set(i, site.quotient(shl(from_int64(from.get(i)), to.up),
                                    shl(from_int64(divisor), to.down), i));
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_divide;
const Kernel cuda_kernel_divide = {run_divide};

}  // namespace gvm
