#include "cpu/normalization.h"

namespace gvm {

namespace {

template <typename T, typename Out>
void normalize(const Call& call) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const int64_t n = group_size(x.type, call.attr(kTrailingAxes));
  const bool centred = call.attr(kCentred) != 0;
  const UInt128 epsilon = group_epsilon(*call.attributes, n, x.type.fraction_bits);
  const IndexMap index = index_map(out.type, call.batch);
  // |c| * 2^(F' + t) < sqrt(n) * 2^F' * 2^30.
  const bool fits = root_of_group_bits(n) + out.type.fraction_bits + kRootBits <= 62;
  for_groups(call, n, [&](int64_t element) {
    const T* row = x.as<T>() + element;
    const GroupRoot g = group_root(row, n, centred, epsilon);
    const auto centre = [&](int64_t i) { return n * row[i] - g.sum; };
    return root_quotients<Out>(call, RootQuotient(g, out.type.fraction_bits + g.shift), fits, index,
                               element, n, centre,
                               [&](int64_t i) { return from_int64(centre(i)); });
  });
}

Status run(const Call& call) {
  with_narrow(call.in[0].type.dtype, [&](auto x) {
    with_narrow(call.out[0].type.dtype,
                [&](auto out) { normalize<decltype(x), decltype(out)>(call); });
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_normalize = {run};

}  // namespace gvm
