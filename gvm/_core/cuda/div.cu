#include "cuda/binary.h"

namespace gvm {

enum { kDirection, kDtype, kFractionBits, kRounding };
enum { kRounded, kDown, kTowardsZero, kNearest };

// a / b, which are at most 2^62 in size, over a divisor that is made positive.
static Status run_div(const Call& call) {
  const Tensor &a = call.in[0], &b = call.in[1], &out = call.out[0];
  const int64_t direction = call.attr(kDirection);
  const Rounding rounding =
      direction == kRounded ? static_cast<Rounding>(call.attr(kRounding)) : Rounding::nearest;
  const Rescale scale =
      rescale(a.type.fraction_bits - b.type.fraction_bits, out.type.fraction_bits);
  const Site site = make_site(call, out, rounding, call.site);
  const Nest<2> nest = binary_nest(call);
  const Cells of_a = cells(a), of_b = cells(b), to = cells(out);
  call.cuda->each(
      out.elements, GVM_EACH(int64_t i) {
        const int64_t x = of_a.get(place(nest, 0, i)), y = of_b.get(place(nest, 1, i));
        const Int128 n = shl(from_int64(y < 0 ? -x : x), scale.up);
        const Int128 d = shl(from_int64(y < 0 ? -y : y), scale.down);
        if (y == 0 || direction == kRounded || direction == kNearest) {
          to.set(i, site.quotient(n, d, i));
          return;
        }
        const bool turned = direction == kTowardsZero && is_negative(n);
        const Int128 whole = divide_floor(turned ? neg(n) : n, d).quotient;
        int64_t clamped = 0;
        to.set(i, clamp_and_count(turned ? neg(whole) : whole, site.bits, &clamped));
        count_clamps(site.clamps, clamped);
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_div;
const Kernel cuda_kernel_div = {run_div};

}  // namespace gvm
