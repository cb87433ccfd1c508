// Groups of normalize and its gradient: exact statistics, and rows of quotients by a root.
#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "cpu/optimizer.h"
#include "ops/normalization.h"

namespace gvm {

// The exact sum of a[i] * b[i] over n <= 2^24: two halves of each product cannot carry over.
inline Int128 sum_of_products(const int32_t* a, const int32_t* b, int64_t n) {
  int64_t high = 0, low = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t p = static_cast<int64_t>(a[i]) * b[i];
    high += p >> 32;
    low += p & 0xffffffff;
  }
  return add(shl(from_int64(high), 32), from_int64(low));
}

// A product with an i16 has at most 46 bits: 2^16 of them stay within int64.
template <typename A, typename B>
Int128 sum_of_products(const A* a, const B* b, int64_t n) {
  Int128 total = {0, 0};
  for (int64_t from = 0; from < n; from += 1 << 16) {
    const int64_t to = std::min<int64_t>(n, from + (1 << 16));
    int64_t part = 0;
    for (int64_t i = from; i < to; ++i) part += static_cast<int64_t>(int32_t{a[i]}) * b[i];
    total = add(total, from_int64(part));
  }
  return total;
}

template <typename T>
int64_t sum_of(const T* x, int64_t n) {
  int64_t total = 0;
  for (int64_t i = 0; i < n; ++i) total += x[i];
  return total;
}

// s, D, t and r of a group (numerics section 7).
struct GroupRoot {
  int64_t sum;
  Int128 spread;
  int shift;
  uint32_t root;
};

template <typename T>
GroupRoot group_root(const T* x, int64_t n, bool centred, UInt128 epsilon) {
  GroupRoot g;
  g.sum = centred ? sum_of(x, n) : 0;
  g.spread = sub(mul(sum_of_products(x, x, n), n), mul(g.sum, g.sum));
  g.spread = add(g.spread, to_signed(epsilon));
  g.shift = (2 * kRootBits - bit_length(to_unsigned(g.spread))) >> 1;
  const Int128 scaled = g.shift >= 0 ? shl(g.spread, 2 * g.shift) : shr(g.spread, -2 * g.shift);
  g.root = static_cast<uint32_t>(isqrt64(scaled.lo));
  return g;
}

// The quotients of a group: by r * 2^-places, or of numerators times 2^places.
struct RootQuotient {
  RootQuotient(const GroupRoot& g, int places)
      : up(std::max(places, 0)), down(std::max(-places, 0)), root(g.root) {}
  int up, down;
  uint32_t root;
};

// Writes quotients of a group whose first element is `element`. narrow(i) is numerator i modulo
// 2^64 before its shift and serves where `fits`: all shifted numerators are within 2^62. wide(i)
// is the numerator. Returns the clamps.
template <typename Out, typename Narrow, typename Wide>
int64_t root_quotients(const Call& call, const RootQuotient& q, bool fits, const IndexMap& index,
                       int64_t element, int64_t n, Narrow narrow, Wide wide) {
  const Rounding rounding = static_cast<Rounding>(call.attr(kNormalizedRounding));
  const bool lanes = fits && q.down <= 62;
  Out* out = call.out[0].as<Out>() + element;
  UpdateDraws draws;
  int64_t values[kUpdateBlock];
  int64_t clamps = 0;
  for (int64_t from = 0; from < n; from += kUpdateBlock) {
    const int64_t count = std::min(kUpdateBlock, n - from);
    const uint32_t* r = draws.draw(call, rounding, call.site, index(element + from), count);
    if (lanes) {
      for (int64_t i = 0; i < count; ++i) {
        values[i] = static_cast<int64_t>(static_cast<uint64_t>(narrow(from + i)) << q.up);
      }
      call.cpu->quotient.run(values, count, {q.root, q.down}, rounding, r, nullptr);
      clamps += call.cpu->convert.run[2][sizeof(Out) == 2 ? 0 : 1](values, count, ConvertSite(), 0,
                                                                   out + from);
    } else {
      for (int64_t i = 0; i < count; ++i) {
        out[from + i] =
            static_cast<Out>(quotient(shl(wide(from + i), q.up), shl(from_int64(q.root), q.down),
                                      rounding, r[i], 8 * static_cast<int>(sizeof(Out)), &clamps));
      }
    }
  }
  return clamps;
}

// Calls f(first element) for every group, in parallel; f returns the clamps.
template <typename F>
void for_groups(const Call& call, int64_t n, F f) {
  std::atomic<int64_t> clamps{0};
  for_ranges(call, call.out[0].elements / n, std::max<int64_t>(1, kGrain / 8 / n),
             [&](int64_t first, int64_t last) {
               int64_t clamped = 0;
               for (int64_t group = first; group < last; ++group) clamped += f(group * n);
               clamps += clamped;
             });
  *call.clamps += clamps;
}

}  // namespace gvm
