#include "cuda/kernel.h"

namespace gvm {

enum { kDtype, kFractionBits, kRounding };

static Status run_divide_by_count(const Call& call) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const Site site = make_site(call, out, static_cast<Rounding>(call.attr(kRounding)), call.site);
  const Rescale to = rescale(x.type.fraction_bits, out.type.fraction_bits);
  const int64_t* const count = call.in[1].as<int64_t>();
  Fault* const fault = call.cuda->fault(call, Rule::least, 1);
  const Cells from = cells(x), result = cells(out);
  call.cuda->each(
      out.elements, GVM_EACH(int64_t i) {
        if (*count < 1) {
          if (i == 0) report_scalar(fault, *count);
          return;
        }
        result.set(i, site.quotient(shl(from_int64(from.get(i)), to.up),
                                    shl(from_int64(*count), to.down), i));
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_divide_by_count;
const Kernel cuda_kernel_divide_by_count = {run_divide_by_count};

}  // namespace gvm
