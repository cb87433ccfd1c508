#include "cuda/kernel.h"
#include "ops/squared_error.h"

namespace gvm {

static Status run_mean_squared_error_grad(const Call& call) {
  const Tensor& out = call.out[0];
  const Difference d = make_difference(call.in[0].type, call.in[1].type);
  const Rescale scale = rescale(d.fraction_bits, out.type.fraction_bits);
  const Site site = make_site(call, out, static_cast<Rounding>(call.attr(2)), call.site);
  const Cells y = cells(call.in[0]), t = cells(call.in[1]), to = cells(out);
  call.cuda->each(
      out.elements, GVM_EACH(int64_t i) {
        const int64_t difference =
            shifted_left(y.get(i), d.y_shift) - shifted_left(t.get(i), d.t_shift);
        to.set(i, site.quotient(shl(from_int64(difference), scale.up + 1),
                                shl(from_int64(d.elements), scale.down), i));
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_mean_squared_error_grad;
const Kernel cuda_kernel_mean_squared_error_grad = {run_mean_squared_error_grad};

}  // namespace gvm
