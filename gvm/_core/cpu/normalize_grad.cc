#include "cpu/normalization.h"

namespace gvm {

namespace {

template <typename T, typename H, typename Out>
void gradient(const Call& call) {
  const Tensor &x = call.in[0], &delta = call.in[1], &out = call.out[0];
  const int64_t n = group_size(x.type, call.attr(kTrailingAxes));
  const bool centred = call.attr(kCentred) != 0;
  const UInt128 epsilon = group_epsilon(*call.attributes, n, x.type.fraction_bits);
  const IndexMap index = index_map(out.type, call.batch);
  const GradientShifts shifts =
      gradient_shifts(n, x.type.fraction_bits, delta.type.fraction_bits, out.type.fraction_bits);
  const int bits = gradient_bits(n, x.type.bound, delta.type.bound, shifts.ratio);
  for_groups(call, n, [&](int64_t element) {
    const T* row = x.as<T>() + element;
    const H* h = delta.as<H>() + element;
    const GroupRoot g = group_root(row, n, centred, epsilon);
    const int64_t sum_h = sum_of(h, n), total = centred ? sum_h : 0;
    // P = n * sum h x - s * sum h.
    const Int128 product = sub(mul(sum_of_products(row, h, n), n), mul(g.sum, sum_h));
    const Int128 ratio = rounded_ratio(shl(product, shifts.ratio), g.spread);
    const RootQuotient q(g, shifts.formats + g.shift - shifts.ratio);
    const bool fits = fits_int64(ratio) && shifts.ratio <= 62 && bits + q.up <= 62;
    const uint64_t low = ratio.lo;
    const auto centre = [&](int64_t i) { return n * row[i] - g.sum; };
    return root_quotients<Out>(
        call, q, fits, index, element, n,
        [&](int64_t i) {
          const uint64_t raised = static_cast<uint64_t>(n * h[i] - total) << shifts.ratio;
          return static_cast<int64_t>(raised - static_cast<uint64_t>(centre(i)) * low);
        },
        [&](int64_t i) {
          return sub(shl(from_int64(n * h[i] - total), shifts.ratio), mul(ratio, centre(i)));
        });
  });
}

Status run(const Call& call) {
  with_narrow(call.in[0].type.dtype, [&](auto x) {
    with_narrow(call.in[1].type.dtype, [&](auto h) {
      with_narrow(call.out[0].type.dtype,
                  [&](auto out) { gradient<decltype(x), decltype(h), decltype(out)>(call); });
    });
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_normalize_grad = {run};

}  // namespace gvm
