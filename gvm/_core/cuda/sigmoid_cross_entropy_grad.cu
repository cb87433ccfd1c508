#include "cuda/softmax.h"

namespace gvm {

static Status run_sigmoid_cross_entropy_grad(const Call& call) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const int64_t n = x.elements / x.dims[0];
  const int32_t* const labels = call.in[1].as<int32_t>();
  watch_numbers(call, Rule::label, labels, call.in[1].elements, 2);
  const Exponentials* const tables = call.cuda->exponentials(x.type.fraction_bits);
  if (tables == nullptr) return Status::ok;  // collect() says why
  const int64_t limit = exponential_limit(x.type.fraction_bits);
  const Site site = make_site(call, out, static_cast<Rounding>(call.attr(2)), call.site);
  const Rescale scale = rescale(0, out.type.fraction_bits);
  const Cells z = cells(x), to = cells(out);
  call.cuda->each(
      x.elements, GVM_EACH(int64_t i) {
        const int64_t value = z.get(i), one = int64_t{1} << 30;
        const int64_t e = exponential(*tables, value < 0 ? -value : value, limit), total = one + e;
        const int64_t rise = (value >= 0 ? one : e) - (labels[i] != 0 ? total : 0);
        to.set(i,
               site.quotient(shl(from_int64(rise), scale.up), shl(mul(total, n), scale.down), i));
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_sigmoid_cross_entropy_grad;
const Kernel cuda_kernel_sigmoid_cross_entropy_grad = {run_sigmoid_cross_entropy_grad};

}  // namespace gvm
