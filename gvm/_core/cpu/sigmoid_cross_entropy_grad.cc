#include "cpu/softmax.h"

namespace gvm {

namespace {

constexpr int64_t kWords = 256;  // elements whose random words are drawn at once

template <typename T, typename Out>
void slopes(const Call& call, const Exponentials& tables) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const int64_t n = x.elements / x.dims[0];
  const int64_t limit = exponential_limit(x.type.fraction_bits);
  const Rounding rounding = static_cast<Rounding>(call.attr(2));
  const int up = std::max(out.type.fraction_bits, 0), down = std::max(-out.type.fraction_bits, 0);
  constexpr int kBits = 8 * static_cast<int>(sizeof(Out));
  const bool narrow = 31 + up <= 62 && 31 + bit_length(static_cast<uint64_t>(n)) + down <= 62;
  const IndexMap index = index_map(out.type, call.batch);
  const T* z = x.as<T>();
  const int32_t* labels = call.in[1].as<int32_t>();
  Out* y = out.as<Out>();
  std::atomic<int64_t> clamps{0};
  // Indices are consecutive within an example, which is the first axis.
  for_ranges(call, x.elements, kGrain / 8, [&](int64_t first, int64_t last) {
    uint32_t words[kWords] = {};
    int64_t clamped = 0;
    for (int64_t from = first; from < last; from += kWords) {
      const int64_t count = std::min(kWords, last - from);
      if (rounding != Rounding::nearest) {
        fill_words(call.seed, call.site, call.step, purpose_of(rounding),
                   static_cast<uint64_t>(index(from)), static_cast<uint64_t>(count), words);
      }
      for (int64_t i = 0; i < count; ++i) {
        const int64_t value = z[from + i], size = value < 0 ? -value : value;
        const int64_t e = exponential(tables, size, limit), one = int64_t{1} << 30;
        const int64_t total = one + e;
        const int64_t rise = (value >= 0 ? one : e) - (labels[from + i] != 0 ? total : 0);
        y[from + i] = static_cast<Out>(
            narrow ? quotient(static_cast<int64_t>(static_cast<uint64_t>(rise) << up),
                              (total * n) << down, rounding, words[i], kBits, &clamped)
                   : quotient(shl(from_int64(rise), up), shl(mul(total, n), down), rounding,
                              words[i], kBits, &clamped));
      }
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
  with_narrow(call.in[0].type.dtype, [&](auto x) {
    with_narrow(call.out[0].type.dtype,
                [&](auto out) { slopes<decltype(x), decltype(out)>(call, *tables); });
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_sigmoid_cross_entropy_grad = {run};

}  // namespace gvm
