#include "cuda/group.h"

namespace gvm {

// What the elements of a group share.
struct GradientGroup {
  GroupRoot root;
  int64_t total;  // of the gradient, where the group is centred
  Int128 ratio;   // P * 2^u / D to nearest
};

static Status run_normalize_grad(const Call& call) {
  const Tensor &x = call.in[0], &delta = call.in[1], &out = call.out[0];
  const int64_t n = group_size(x.type, call.attr(kTrailingAxes)), groups = x.elements / n;
  const bool centred = call.attr(kCentred) != 0;
  const UInt128 epsilon = group_epsilon(*call.attributes, n, x.type.fraction_bits);
  const GradientShifts shifts =
      gradient_shifts(n, x.type.fraction_bits, delta.type.fraction_bits, out.type.fraction_bits);
  const Rounding rounding = static_cast<Rounding>(call.attr(kNormalizedRounding));
  const Site site = make_site(call, out, rounding, call.site);
  const Cells from = cells(x), h = cells(delta), to = cells(out);
  GradientGroup* const shared = static_cast<GradientGroup*>(
      call.cuda->scratch(0, groups * static_cast<int64_t>(sizeof(GradientGroup))));
  call.cuda->each(
      groups, GVM_EACH(int64_t i) {
        GradientGroup g;
        g.root = device_group_root(from, i * n, n, centred, epsilon);
        const int64_t sum = device_sum_of(h, i * n, (i + 1) * n);
        g.total = centred ? sum : 0;
        const Int128 products = mul(device_sum_of_products(from, h, i * n, (i + 1) * n), n);
        g.ratio =
            rounded_ratio(shl(sub(products, mul(g.root.sum, sum)), shifts.ratio), g.root.spread);
        shared[i] = g;
      });
  call.cuda->each(
      out.elements, GVM_EACH(int64_t i) {
        const GradientGroup& g = shared[i / n];
        const int64_t centre = n * from.get(i) - g.root.sum;
        const Int128 raised = shl(from_int64(n * h.get(i) - g.total), shifts.ratio);
        to.set(i, root_quotient(site, sub(raised, mul(g.ratio, centre)),
                                shifts.formats + g.root.shift - shifts.ratio, g.root.root, i));
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_normalize_grad;
const Kernel cuda_kernel_normalize_grad = {run_normalize_grad};

}  // namespace gvm
