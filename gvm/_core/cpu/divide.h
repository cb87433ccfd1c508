// A whole tensor over one divisor.
#pragma once

#include <atomic>

#include "cpu/quotient.h"
#include "cpu/strided.h"

namespace gvm {

inline void divide_tensor(const Call& call, int64_t divisor, Rounding rounding) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const QuotientSite site = make_quotient_site(call, rounding, x.type.fraction_bits);
  const IndexMap index = index_map(out.type, call.batch);
  const int64_t bytes = dtype_bytes(out.type.dtype);
  std::atomic<int64_t> clamps{0};
  with_integer(x.type.dtype, [&](auto zero) {
    using T = decltype(zero);
    for_ranges(call, out.elements, kGrain / 4, [&](int64_t begin, int64_t end) {
      int64_t clamped = 0;
      while (begin < end) {
        const int64_t n = std::min(end - begin, index.run - begin % index.run);
        clamped += quotient_row(call, site, x.as<T>() + begin, n, divisor, index(begin),
                                out.as<char>() + begin * bytes);
        begin += n;
      }
      clamps += clamped;
    });
  });
  *call.clamps += clamps;
}

}  // namespace gvm
