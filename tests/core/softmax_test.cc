// The divider of softmax's rows against the definition of quotient.
#include "cpu/softmax.h"

#include <cstdio>

namespace {

int failures = 0;

void compare_one(int64_t n, int64_t d, uint32_t r) {
  const gvm::Divider divider(d);
  for (const gvm::Rounding rounding : {gvm::Rounding::nearest, gvm::Rounding::backward}) {
    int64_t clamps = 0;
    const int64_t wanted = gvm::quotient(n, d, rounding, r, 64, &clamps);
    if (divider.divide(n, rounding, r) == wanted) continue;
    ++failures;
    std::fprintf(stderr, "softmax_test: %lld / %lld, rounding %d, r %u\n",
                 static_cast<long long>(n), static_cast<long long>(d), static_cast<int>(rounding),
                 r);
  }
}

}  // namespace

int main() {
  const int64_t limit = int64_t{1} << 62;
  uint64_t state = 1;
  const auto draw = [&state] {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state ^ (state >> 29);
  };
  int64_t count = 0;
  for (int bits_n = 0; bits_n <= 62; ++bits_n) {
    for (int bits_d = 0; bits_d <= 62; ++bits_d) {
      for (int i = 0; i < 40; ++i, ++count) {
        const int64_t d = 1 + static_cast<int64_t>((draw() >> 1) >> (63 - bits_d)) % limit;
        const int64_t n = static_cast<int64_t>((draw() >> 1) >> (63 - bits_n)) % limit;
        const uint32_t r = static_cast<uint32_t>(draw() >> 20);
        compare_one(n, d, i == 0 ? 0 : i == 1 ? UINT32_MAX : r);
        // Near multiples and halves of d.
        const int64_t whole = n / d * d;
        for (int64_t near : {whole, whole + d / 2, whole + d / 2 + 1, whole + d - 1, limit - 1}) {
          if (near < limit) compare_one(near, d, r);
        }
      }
    }
  }
  std::printf("softmax_test: %lld pairs, %d failures\n", static_cast<long long>(count), failures);
  return failures == 0 ? 0 : 1;
}
