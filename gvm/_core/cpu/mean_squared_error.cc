#include <atomic>

#include "cpu/strided.h"
#include "ops/logits.h"
#include "ops/squared_error.h"

namespace gvm {

namespace {

template <typename Y, typename T>
Int128 sum_of_squares(const Difference& d, const Y* y, const T* t) {
  const int64_t scale_y = int64_t{1} << d.y_shift, scale_t = int64_t{1} << d.t_shift;
  if (2 * d.bits + d.count_bits <= 62) {
    int64_t sum = 0;
    for (int64_t i = 0; i < d.elements; ++i) {
      const int64_t difference = y[i] * scale_y - t[i] * scale_t;
      sum += difference * difference;
    }
    return from_int64(sum);
  }
  Int128 sum = {0, 0};
  for (int64_t i = 0; i < d.elements; ++i) {
    const int64_t difference = y[i] * scale_y - t[i] * scale_t;
    sum = add(sum, mul(difference, difference));
  }
  return sum;
}

template <typename Y, typename T>
void losses(const Call& call) {
  const Difference d = make_difference(call.in[0].type, call.in[1].type);
  const int shift = kLossFractionBits - 2 * d.fraction_bits;
  const Int128 divisor = shl(from_int64(d.elements), std::max(-shift, 0));
  const Y* y = call.in[0].as<Y>();
  const T* t = call.in[1].as<T>();
  int64_t* out = call.out[0].as<int64_t>();
  std::atomic<int64_t> clamps{0};
  for_ranges(call, call.in[0].dims[0], std::max<int64_t>(1, kGrain / d.elements),
             [&](int64_t first, int64_t last) {
               int64_t clamped = 0, beyond = 0;
               for (int64_t row = first; row < last; ++row) {
                 const int64_t at = row * d.elements;
                 const Int128 sum = shl(sum_of_squares(d, y + at, t + at), std::max(shift, 0));
                 const int64_t loss = quotient_nearest(sum, divisor, 64, &beyond);
                 clamped += loss >= kLossLimit ? 1 : 0;
                 out[row] = std::min(loss, kLossLimit - 1);
               }
               clamps += clamped;
             });
  *call.clamps += clamps;
}

Status run(const Call& call) {
  with_narrow(call.in[0].type.dtype, [&](auto y) {
    with_narrow(call.in[1].type.dtype, [&](auto t) { losses<decltype(y), decltype(t)>(call); });
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_mean_squared_error = {run};

}  // namespace gvm
