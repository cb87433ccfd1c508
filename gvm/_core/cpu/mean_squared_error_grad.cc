#include <atomic>

#include "cpu/strided.h"
#include "ops/squared_error.h"

namespace gvm {

namespace {

template <typename Y, typename T, typename Out>
void gradients(const Call& call) {
  const Tensor& out = call.out[0];
  const Difference d = make_difference(call.in[0].type, call.in[1].type);
  const int64_t scale_y = int64_t{1} << d.y_shift, scale_t = int64_t{1} << d.t_shift;
  const int shift = out.type.fraction_bits - d.fraction_bits;
  const int up = std::max(shift, 0) + 1, down = std::max(-shift, 0);
  const bool narrow = d.bits + up <= 62 && d.count_bits + down <= 62;
  const Int128 divisor = shl(from_int64(d.elements), down);
  const Rounding rounding = static_cast<Rounding>(call.attr(2));
  const int bits = dtype_bits(out.type.dtype);
  const IndexMap index = index_map(out.type, call.batch);
  const Y* y = call.in[0].as<Y>();
  const T* t = call.in[1].as<T>();
  std::atomic<int64_t> clamps{0};
  for_ranges(call, out.elements, kGrain, [&](int64_t begin, int64_t end) {
    constexpr int64_t kChunk = 1024;
    uint32_t words[kChunk] = {};
    int64_t clamped = 0;
    while (begin < end) {
      const int64_t n = std::min({end - begin, kChunk, index.run - begin % index.run});
      if (rounding != Rounding::nearest) {
        fill_words(call.seed, call.site, call.step, purpose_of(rounding),
                   static_cast<uint64_t>(index(begin)), static_cast<uint64_t>(n), words);
      }
      for (int64_t i = 0; i < n; ++i) {
        const int64_t difference = y[begin + i] * scale_y - t[begin + i] * scale_t;
        const int64_t q =
            narrow ? quotient(difference * (int64_t{1} << up), static_cast<int64_t>(divisor.lo),
                              rounding, words[i], bits, &clamped)
                   : quotient(shl(from_int64(difference), up), divisor, rounding, words[i], bits,
                              &clamped);
        out.as<Out>()[begin + i] = static_cast<Out>(q);
      }
      begin += n;
    }
    clamps += clamped;
  });
  *call.clamps += clamps;
}

Status run(const Call& call) {
  with_narrow(call.in[0].type.dtype, [&](auto y) {
    with_narrow(call.in[1].type.dtype, [&](auto t) {
      with_narrow(call.out[0].type.dtype,
                  [&](auto out) { gradients<decltype(y), decltype(t), decltype(out)>(call); });
    });
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_mean_squared_error_grad = {run};

}  // namespace gvm
