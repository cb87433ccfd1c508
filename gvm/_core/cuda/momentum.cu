#include "cuda/optimizer.h"

namespace gvm {

static Status run_momentum(const Call& call) {
  const int64_t t = call.attr(1) + call.in[2].type.fraction_bits - call.in[1].type.fraction_bits;
  const int64_t s = std::max<int64_t>({call.attr(3), t, 0});
  const int64_t rate = call.attr(0), momentum = call.attr(2);
  const int down = static_cast<int>(s), keep_shift = static_cast<int>(s - call.attr(3));
  const int up = static_cast<int>(s - t);
  const int more = call.in[1].type.fraction_bits - call.in[0].type.fraction_bits;
  const Site site = update_site(call, 0, static_cast<Rounding>(call.attr(4)), call.site);
  const Site state = update_site(call, 1, static_cast<Rounding>(call.attr(5)), call.site + 1);
  const Cells w = cells(call.in[0]), v = cells(call.in[1]);
  const Cells w_out = cells(call.out[0]), v_out = cells(call.out[1]);
  const int64_t* const gradient = call.in[2].as<int64_t>();
  return run_device_update(
      call, 2, 3, GVM_EACH(int64_t i, int64_t count) {
        const Int128 keep = shl(mul(momentum, count), keep_shift);
        const Int128 moved = shl(mul(gradient[i], rate), up);
        const int64_t velocity =
            state.quotient(sub(mul(keep, v.get(i)), moved), shl(from_int64(count), down), i);
        v_out.set(i, velocity);
        w_out.set(i, site.convert(shifted_left(w.get(i), more) + velocity, more, i));
      });
}

extern const Kernel cuda_kernel_momentum;
const Kernel cuda_kernel_momentum = {run_momentum};

}  // namespace gvm
