// One division of 64 bits against the quotient of 128: weights less what they move and decay by.
#include "cpu/moments.h"

#include <cstdio>

namespace {

using gvm::Int128;
using gvm::Rounding;

// A generator for test data only.
struct Mix {
  uint64_t state;
  uint64_t next() {
    state += 0x9E3779B97F4A7C15u;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
  // Of at most `bits` bits and a sign, often at the edge or small.
  int64_t number(int bits) {
    const int64_t edge = int64_t{1} << bits;
    switch (below(5)) {
      case 0:
        return below(2) == 0 ? edge - 1 - below(2) : -edge + below(2);
      case 1:
        return below(5) - 2;
      default:
        return static_cast<int64_t>(next()) >> (63 - below(bits + 1));
    }
  }
};

}  // namespace

int main() {
  Mix mix{23};
  int failures = 0;
  for (int i = 0; i < 400000; ++i) {
    const int64_t w = mix.number(31);
    int64_t D = mix.number(1 + static_cast<int>(mix.below(62)));
    if (D < 0) D = -(D + 1);
    if (i % 7 == 0) D = int64_t{1} << mix.below(63);
    if (D == 0) D = 1;  // a root plus epsilon is positive
    int64_t moved = mix.number(static_cast<int>(mix.below(63)));
    // Multiples of half the divisor, for ties of both parts together.
    if (i % 3 == 0 && D > 1 && D < int64_t{1} << 40) moved = D / 2 * mix.number(20) + mix.below(2);
    int64_t decayed = mix.number(static_cast<int>(mix.below(62)));
    if (i % 5 == 0) decayed = (mix.number(20) * 2 + 1) * (int64_t{1} << 31);
    const Rounding rounding = static_cast<Rounding>(i % 3);
    const uint32_t r =
        i % 4 == 0 ? static_cast<uint32_t>(-mix.below(2)) : static_cast<uint32_t>(mix.next());
    const int bits = i % 2 == 0 ? 16 : 32;
    const Int128 divisor = gvm::from_int64(D), whole = gvm::shl(divisor, 32);
    const Int128 numerator = gvm::add(gvm::shl(gvm::from_int64(moved), 32), gvm::mul(D, decayed));
    int64_t clamps = 0, want_clamps = 0;
    const int64_t got = gvm::minus_decayed_quotient(w, gvm::from_int64(moved), divisor, decayed,
                                                    rounding, r, bits, &clamps);
    const int64_t want = gvm::quotient(gvm::sub(gvm::mul(whole, w), numerator), whole, rounding, r,
                                       bits, &want_clamps);
    if (got == want && clamps == want_clamps) continue;
    ++failures;
    std::printf(
        "moments_test: %lld - %lld / %lld - %lld / 2^32, rounding %d, r %u: %lld, not %lld\n",
        static_cast<long long>(w), static_cast<long long>(moved), static_cast<long long>(D),
        static_cast<long long>(decayed), static_cast<int>(rounding), r, static_cast<long long>(got),
        static_cast<long long>(want));
    if (failures > 5) break;
  }
  return failures == 0 ? 0 : 1;
}
