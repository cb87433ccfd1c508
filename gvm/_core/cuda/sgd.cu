#include "cuda/optimizer.h"

namespace gvm {

static Status run_sgd(const Call& call) {
  const int64_t e = call.in[0].type.fraction_bits - call.in[1].type.fraction_bits - call.attr(1);
  const int down = static_cast<int>(std::max<int64_t>(0, -e));
  const int up = static_cast<int>(std::max<int64_t>(0, e));
  const int64_t rate = call.attr(0);
  const Site site = update_site(call, 0, static_cast<Rounding>(call.attr(2)), call.site);
  const Cells w = cells(call.in[0]), out = cells(call.out[0]);
  const int64_t* const gradient = call.in[1].as<int64_t>();
  return run_device_update(
      call, 1, 2, GVM_EACH(int64_t i, int64_t count) {
        const Int128 divisor = shl(from_int64(count), down);
        const Int128 moved = shl(mul(gradient[i], rate), up);
        out.set(i, site.quotient(sub(mul(divisor, w.get(i)), moved), divisor, i));
      });
}

extern const Kernel cuda_kernel_sgd;
const Kernel cuda_kernel_sgd = {run_sgd};

}  // namespace gvm
