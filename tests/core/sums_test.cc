// sums.h against its definition, at the edges of bounds that are and are not powers of two.
#include "sums.h"

#include <cstdint>
#include <cstdio>
#include <vector>

namespace gvm {
namespace {

constexpr uint64_t kMost = uint64_t{1} << 62;
int failures = 0;

void check(bool holds, const char* what, uint64_t bound, int64_t a, int64_t b) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "sums_test: %s, bound %llu, of %lld and %lld\n", what,
               static_cast<unsigned long long>(bound), static_cast<long long>(a),
               static_cast<long long>(b));
}

bool inside(int64_t q, int64_t bound) { return -bound <= q && q <= bound; }

// Whether a, b and a + b are within a bound of at most 2^62.
bool fits(int64_t a, int64_t b, int64_t bound) {
  return inside(a, bound) && inside(b, bound) && inside(a + b, bound);
}

void test_bound(uint64_t bound) {
  const int64_t at = static_cast<int64_t>(bound);
  std::vector<int64_t> edges = {0, 1, -1, INT64_MAX, INT64_MIN, INT64_MAX - at, INT64_MIN + at};
  for (int64_t q : {at, at / 2, at / 2 + 1, at - at / 2}) {
    for (int64_t more : {-1, 0, 1}) {
      edges.push_back(q + more);
      edges.push_back(-q + more);
    }
  }
  for (int64_t a : edges) {
    const int64_t row[3] = {0, a, 0};
    check(first_outside(row, 3, bound) == (inside(a, at) ? 3 : 1), "first_outside", bound, a, 0);
    for (int64_t b : edges) {
      int64_t sums[4] = {0, a, 0, a};
      const int64_t parts[4] = {0, b, 0, b};
      const bool good = fits(a, b, at);
      check(add_within(sums, parts, 4, bound) == (good ? 4 : 1), "add_within", bound, a, b);
      // All of them, or none.
      check(sums[1] == (good ? a + b : a) && sums[3] == sums[1], "sums", bound, a, b);
    }
  }
}

}  // namespace
}  // namespace gvm

int main() {
  for (uint64_t bound :
       {uint64_t{0}, uint64_t{1}, uint64_t{2}, uint64_t{3}, uint64_t{7}, uint64_t{8},
        uint64_t{1000}, uint64_t{1} << 31, (uint64_t{1} << 40) + 5, gvm::kMost - 1, gvm::kMost}) {
    gvm::test_bound(bound);
  }
  return gvm::failures == 0 ? 0 : 1;
}
