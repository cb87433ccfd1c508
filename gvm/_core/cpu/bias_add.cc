#include "cpu/strided.h"

namespace gvm {

namespace {

// out[i] = x[i] * 2^x_shift + bias[i] * 2^bias_shift.
template <typename X, typename B>
void add(const X* x, const B* bias, int64_t n, int x_shift, int bias_shift, int64_t* out) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = static_cast<int64_t>((static_cast<uint64_t>(int64_t{x[i]}) << x_shift) +
                                  (static_cast<uint64_t>(int64_t{bias[i]}) << bias_shift));
  }
}

template <typename X, typename B>
void add_all(const Call& call) {
  const X* x = call.in[0].as<X>();
  const B* bias = call.in[1].as<B>();
  int64_t* out = call.out[0].as<int64_t>();
  const int f = call.out[0].type.fraction_bits;
  const int x_shift = f - call.in[0].type.fraction_bits;
  const int bias_shift = f - call.in[1].type.fraction_bits;
  const int64_t n = call.in[1].elements;
  for_ranges(call, call.out[0].elements, kGrain, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t column = begin % n, count = std::min(end - begin, n - column);
      add(x + begin, bias + column, count, x_shift, bias_shift, out + begin);
      begin += count;
    }
  });
}

template <typename X>
void add_bias(const Call& call) {
  if (call.in[1].type.dtype == DType::i16) {
    add_all<X, int16_t>(call);
  } else {
    add_all<X, int32_t>(call);
  }
}

Status run(const Call& call) {
  switch (call.in[0].type.dtype) {
    case DType::i16:
      add_bias<int16_t>(call);
      break;
    case DType::i32:
      add_bias<int32_t>(call);
      break;
    default:
      add_bias<int64_t>(call);
      break;
  }
  return Status::ok;
}

}  // namespace

// In place: element i is read before it is written, and the types agree only where x is i64.
extern const Kernel kernel_bias_add = {run, false, true, false};

}  // namespace gvm
