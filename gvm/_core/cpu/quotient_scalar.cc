// Quotients by count * 2^shift in plain C++: shift first, then divide by the count, and decide on
// what is left of both. The vector forms do the same.
#include "cpu/kernels.h"

namespace gvm {

namespace {

void run(int64_t* values, int64_t n, Divisor divisor, Rounding rounding, const uint32_t* r,
         const int64_t* base) {
  const int64_t count = divisor.count;
  const int shift = divisor.shift;
  const uint64_t low_bits = (uint64_t{1} << shift) - 1;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t whole = values[i] >> shift;
    const uint64_t low = static_cast<uint64_t>(values[i]) & low_bits;
    int64_t q = whole / count, rest = whole % count;
    q -= rest < 0 ? 1 : 0;
    rest += rest < 0 ? count : 0;
    // (rest * 2^shift + low) / 2^shift, times 2^32: the integer part, and whether there is more.
    const uint64_t fraction = shift > 32 ? low >> (shift - 32) : low << (32 - shift);
    const bool more = shift > 32 && (low & (low_bits >> 32)) != 0;
    const uint64_t scaled = (static_cast<uint64_t>(rest) << 32) + fraction;
    bool up;
    if (rounding == Rounding::nearest) {
      const uint64_t half = static_cast<uint64_t>(count) << 31;
      const bool odd = ((q + (base != nullptr ? base[i] : 0)) & 1) != 0;
      up = scaled > half || (scaled == half && (more || odd));
    } else {
      const uint64_t drawn = uint64_t{r[i]} * divisor.count;
      up = drawn < scaled || (drawn == scaled && more);
    }
    values[i] = q + (up ? 1 : 0);
  }
}

}  // namespace

const QuotientKernels kQuotientScalar = {run};

}  // namespace gvm
