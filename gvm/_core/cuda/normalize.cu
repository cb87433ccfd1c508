#include "cuda/group.h"

namespace gvm {

static Status run_normalize(const Call& call) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const int64_t n = group_size(x.type, call.attr(kTrailingAxes)), groups = x.elements / n;
  const bool centred = call.attr(kCentred) != 0;
  const UInt128 epsilon = group_epsilon(*call.attributes, n, x.type.fraction_bits);
  const int fraction_bits = out.type.fraction_bits;
  const Rounding rounding = static_cast<Rounding>(call.attr(kNormalizedRounding));
  const Site site = make_site(call, out, rounding, call.site);
  const Cells from = cells(x), to = cells(out);
  GroupRoot* const roots = static_cast<GroupRoot*>(
      call.cuda->scratch(0, groups * static_cast<int64_t>(sizeof(GroupRoot))));
  call.cuda->each(
      groups,
      GVM_EACH(int64_t g) { roots[g] = device_group_root(from, g * n, n, centred, epsilon); });
  call.cuda->each(
      out.elements, GVM_EACH(int64_t i) {
        const GroupRoot& g = roots[i / n];
        to.set(i, root_quotient(site, from_int64(n * from.get(i) - g.sum), fraction_bits + g.shift,
                                g.root, i));
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_normalize;
const Kernel cuda_kernel_normalize = {run_normalize};

}  // namespace gvm
