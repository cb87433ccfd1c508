// What optimizer kernels share: the random words of a range and the rounded quotient of 64-bit or
// wider numerators by one divisor.
#pragma once

#include <algorithm>
#include <atomic>

#include "cpu/kernel.h"
#include "cpu/strided.h"
#include "random.h"

namespace gvm {

constexpr int64_t kUpdateBlock = 512;  // elements whose random words are drawn at once
// The limit of max_batch. With it every numerator and divisor of an update stays within 2^126.
constexpr int64_t kMaxUpdateCount = int64_t{1} << 22;

// Whether a count may be divided by; else fails. What is not positive leaves the parameters alone.
inline bool check_count(const Call& call, int64_t count) {
  if (count <= kMaxUpdateCount) return true;
  return call.error->fail(Status::bad_input, "%s: count must be at most 2^22, received %lld",
                          call.op->name, static_cast<long long>(count));
}

// Draws r of 32 bits for elements [first, first + n) at a site; n <= kUpdateBlock. For nearest,
// nothing.
class UpdateDraws {
 public:
  const uint32_t* draw(const Call& call, Rounding rounding, uint32_t site, int64_t first,
                       int64_t n) {
    if (rounding == Rounding::nearest) return words_;  // zero, unused
    const uint64_t block = static_cast<uint64_t>(first) >> 2;
    const int64_t skip = first & 3;
    call.cpu->convert.random_blocks(call.seed, site, call.step, purpose_of(rounding), block,
                                    (skip + n + 3) / 4, words_);
    return words_ + skip;
  }

 private:
  uint32_t words_[kUpdateBlock + 8] = {};
};

// One divisor for many numerators; by 64-bit division where both fit.
struct UpdateDivisor {
  explicit UpdateDivisor(Int128 d) : wide(d), narrow(fits_int64(d)) {}
  Int128 wide;  // > 0
  bool narrow;
};

// quotient(base * divisor + numerator, divisor) of numerics section 2: base is an integer, so only
// the numerator is divided; a tie goes to the even sum.
inline int64_t update_quotient(int64_t base, Int128 numerator, const UpdateDivisor& divisor,
                               Rounding rounding, uint32_t r, int bits, int64_t* clamps) {
  if (divisor.narrow && fits_int64(numerator)) {
    const int64_t n = static_cast<int64_t>(numerator.lo), d = static_cast<int64_t>(divisor.wide.lo);
    const int64_t truncated = n / d, rest = n % d;
    const int64_t q = truncated - (rest < 0 ? 1 : 0);
    const uint64_t remainder = static_cast<uint64_t>(rest + (rest < 0 ? d : 0));
    const uint64_t back = static_cast<uint64_t>(d) - remainder;
    const bool up = rounding == Rounding::nearest
                        ? remainder > back || (remainder == back && ((base + q) & 1) != 0)
                        : scale_by_random(static_cast<uint64_t>(d), r) < remainder;
    return clamp_and_count(add(from_int64(q), from_int64(base + (up ? 1 : 0))), bits, clamps);
  }
  return quotient(add(mul(divisor.wide, base), numerator), divisor.wide, rounding, r, bits, clamps);
}

// Calls f(begin, n, clamps) on blocks of at most kUpdateBlock elements, in parallel, and adds the
// clamps.
template <typename F>
void for_update_blocks(const Call& call, int64_t elements, F f) {
  std::atomic<int64_t> total{0};
  for_ranges(call, elements, 16 * kUpdateBlock, [&](int64_t begin, int64_t end) {
    int64_t clamps = 0;
    for (; begin < end; begin += kUpdateBlock) {
      f(begin, std::min(kUpdateBlock, end - begin), &clamps);
    }
    total += clamps;
  });
  *call.clamps += total;
}

}  // namespace gvm
