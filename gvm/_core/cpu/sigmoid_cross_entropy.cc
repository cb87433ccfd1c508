#include "cpu/softmax.h"

namespace gvm {

namespace {

template <typename T>
void losses(const Call& call, const Exponentials& tables) {
  const Tensor& x = call.in[0];
  const int64_t n = x.elements / x.dims[0];
  const int shift = kLossFractionBits - x.type.fraction_bits;
  const int64_t limit = exponential_limit(x.type.fraction_bits);
  int64_t* out = call.out[0].as<int64_t>();
  int64_t* right = call.out[1].as<int64_t>();
  std::atomic<int64_t> clamps{0};
  for_ranges(call, x.dims[0], std::max<int64_t>(1, kGrain / 8 / n),
             [&](int64_t first, int64_t last) {
               int64_t clamped = 0, beyond = 0;
               for (int64_t row = first; row < last; ++row) {
                 const T* z = x.as<T>() + row * n;
                 const int32_t* labels = call.in[1].as<int32_t>() + row * n;
                 Int128 sum = {0, 0};
                 bool all = true;
                 for (int64_t i = 0; i < n; ++i) {
                   const int64_t side = labels[i] != 0 ? -int64_t{z[i]} : int64_t{z[i]};
                   const int64_t size = side < 0 ? -side : side;
                   const int64_t total = (int64_t{1} << 30) + exponential(tables, size, limit);
                   const int64_t distance = std::max<int64_t>(side, 0) << shift;
                   sum = add(sum, from_int64(logarithm(total) + distance));
                   all = all && (z[i] > 0) == (labels[i] != 0);
                 }
                 const int64_t loss = quotient_nearest(sum, from_int64(n), 64, &beyond);
                 clamped += loss >= kLossLimit ? 1 : 0;
                 out[row] = std::min(loss, kLossLimit - 1);
                 right[row] = all ? 1 : 0;
               }
               clamps += clamped;
             });
  *call.clamps += clamps;
}

Status run(const Call& call) {
  if (!check_labels(call, call.in[1].as<int32_t>(), call.in[1].elements, 2)) {
    return Status::bad_input;
  }
  Exponentials own;
  const Exponentials* tables = find_exponentials(call, call.in[0].type.fraction_bits, &own);
  if (tables == nullptr) return Status::internal;
  with_narrow(call.in[0].type.dtype, [&](auto zero) { losses<decltype(zero)>(call, *tables); });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_sigmoid_cross_entropy = {run};

}  // namespace gvm
