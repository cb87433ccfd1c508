#include "cuda/kernel.h"

namespace gvm {

enum { kKeep, kStream, kRounding };

static Status run_dropout(const Call& call) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const int64_t keep = call.attr(kKeep);
  const uint32_t stream = static_cast<uint32_t>(call.attr(kStream));
  const Site site = make_site(call, out, static_cast<Rounding>(call.attr(kRounding)), call.site);
  const Rescale to = rescale(x.type.fraction_bits, out.type.fraction_bits);
  const Cells from = cells(x), result = cells(out);
  call.cuda->each(
      out.elements, GVM_EACH(int64_t i) {
        const int64_t drawn = random_half(site.seed, stream, site.step, Purpose::dropout,
                                          static_cast<uint64_t>(site.index(i)));
        const int64_t kept = drawn < keep ? from.get(i) * int64_t{65536} : 0;
        result.set(i,
                   site.quotient(shl(from_int64(kept), to.up), shl(from_int64(keep), to.down), i));
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_dropout;
const Kernel cuda_kernel_dropout = {run_dropout, false, true, false};

}  // namespace gvm
