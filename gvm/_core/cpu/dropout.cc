#include <atomic>

#include "cpu/quotient.h"
#include "cpu/strided.h"

namespace gvm {

namespace {

enum { kKeep, kStream, kRounding };
constexpr int64_t kBlock = 512;  // elements whose draws are made at once

// kept[i] = x[i] * 2^16 where element i stays, else 0; x[0] has logical index `first`, n <= kBlock.
template <typename T>
void drop(const Call& call, const T* x, int64_t n, int64_t first, int64_t* kept) {
  uint32_t words[kBlock / 2 + 8];
  const uint64_t begin = static_cast<uint64_t>(first) >> 3;
  const uint64_t end = (static_cast<uint64_t>(first + n - 1) >> 3) + 1;
  call.cpu->convert.random_blocks(call.seed, static_cast<uint32_t>(call.attr(kStream)), call.step,
                                  Purpose::dropout, begin, static_cast<int64_t>(end - begin),
                                  words);
  const int64_t skip = first & 7, keep = call.attr(kKeep);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t half = skip + i;
    const int64_t drawn = (words[half >> 1] >> (16 * (half & 1))) & 0xffffu;
    kept[i] = drawn < keep ? x[i] * int64_t{65536} : 0;
  }
}

Status run(const Call& call) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const int64_t keep = call.attr(kKeep);
  const Rounding rounding = static_cast<Rounding>(call.attr(kRounding));
  const QuotientSite site = make_quotient_site(call, rounding, x.type.fraction_bits);
  const IndexMap index = index_map(out.type, call.batch);
  const int64_t bytes = dtype_bytes(out.type.dtype);
  std::atomic<int64_t> clamps{0};
  with_narrow(x.type.dtype, [&](auto zero) {
    using T = decltype(zero);
    for_ranges(call, out.elements, kGrain / 4, [&](int64_t begin, int64_t end) {
      int64_t clamped = 0, kept[kBlock];
      while (begin < end) {
        const int64_t n = std::min({end - begin, index.run - begin % index.run, kBlock});
        drop(call, x.as<T>() + begin, n, index(begin), kept);
        clamped +=
            quotient_row(call, site, kept, n, keep, index(begin), out.as<char>() + begin * bytes);
        begin += n;
      }
      clamps += clamped;
    });
  });
  *call.clamps += clamps;
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_dropout = {run, false, true, false};

}  // namespace gvm
