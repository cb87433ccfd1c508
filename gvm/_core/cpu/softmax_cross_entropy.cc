#include "cpu/softmax.h"

namespace gvm {

namespace {

template <typename T>
void losses(const Call& call, const Exponentials& tables) {
  const Tensor& x = call.in[0];
  const int64_t n = x.dims[1];
  const int f = x.type.fraction_bits;
  const int64_t limit = exponential_limit(f);
  const int32_t* labels = call.in[1].as<int32_t>();
  int64_t* out = call.out[0].as<int64_t>();
  std::atomic<int64_t> clamps{0};
  for_ranges(call, x.dims[0], std::max<int64_t>(1, kGrain / 8 / n),
             [&](int64_t first, int64_t last) {
               int64_t clamped = 0;
               for (int64_t row = first; row < last; ++row) {
                 const T* z = x.as<T>() + row * n;
                 const int64_t largest = *std::max_element(z, z + n);
                 int64_t sum = 0;
                 for (int64_t i = 0; i < n; ++i) sum += exponential(tables, largest - z[i], limit);
                 const int64_t distance = (largest - z[labels[row]]) << (kLossFractionBits - f);
                 const int64_t loss = logarithm(sum) + distance;
                 clamped += loss >= kLossLimit ? 1 : 0;
                 out[row] = std::min(loss, kLossLimit - 1);
               }
               clamps += clamped;
             });
  *call.clamps += clamps;
}

Status run(const Call& call) {
  if (!check_labels(call, call.in[1].as<int32_t>(), call.in[1].elements, call.in[0].dims[1])) {
    return Status::bad_input;
  }
  Exponentials own;
  const Exponentials* tables = find_exponentials(call, call.in[0].type.fraction_bits, &own);
  if (tables == nullptr) return Status::internal;
  with_narrow(call.in[0].type.dtype, [&](auto zero) { losses<decltype(zero)>(call, *tables); });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_softmax_cross_entropy = {run};

}  // namespace gvm
