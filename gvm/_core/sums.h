// Sums within bounds that are proved: totals as they come from outside, and parts added to them.
#pragma once

#include <cstdint>

namespace gvm {

// Whether q lies outside [-bound, bound]; bound <= 2^62.
inline bool is_outside(uint64_t q, uint64_t bound) { return q + bound > 2 * bound; }

// The largest power of two within a bound, at least 1: sums of it and numbers in [-p, p) have no
// bit of what high_bits gives. Many numbers are judged by the bits of all: comparisons of 64 bits
// are slow.
inline uint64_t power_within(uint64_t bound) {
  uint64_t p = 1;
  while (2 * p <= bound) p *= 2;
  return p;
}
inline uint64_t high_bits(uint64_t p) { return ~(2 * p - 1); }

// The first of n numbers outside [-bound, bound], or n.
inline int64_t first_outside(const int64_t* q, int64_t n, uint64_t bound) {
  const uint64_t p = power_within(bound);
  uint64_t bits = 0;
  for (int64_t e = 0; e < n; ++e) bits |= static_cast<uint64_t>(q[e]) + p;
  if (bound > 0 && (bits & high_bits(p)) == 0) return n;
  int64_t e = 0;
  while (e < n && !is_outside(static_cast<uint64_t>(q[e]), bound)) ++e;
  return e;
}

// Whether a, b or a + b lies outside. With both inside, |a + b| <= 2^63 leaves the bound before it
// wraps.
inline bool is_sum_outside(int64_t a, int64_t b, uint64_t bound) {
  const uint64_t x = static_cast<uint64_t>(a), y = static_cast<uint64_t>(b);
  return is_outside(x, bound) || is_outside(y, bound) || is_outside(x + y, bound);
}

// Takes from a what was added; wraps as adding did.
inline void subtract(int64_t* a, const int64_t* b, int64_t n) {
  for (int64_t e = 0; e < n; ++e) {
    a[e] = static_cast<int64_t>(static_cast<uint64_t>(a[e]) - static_cast<uint64_t>(b[e]));
  }
}

// The first of n pairs of numbers that is outside or whose sum is, or n; then a holds the sums.
inline int64_t add_within(int64_t* a, const int64_t* b, int64_t n, uint64_t bound) {
  const uint64_t p = power_within(bound);
  uint64_t bits = 0;
  for (int64_t e = 0; e < n; ++e) {
    const uint64_t x = static_cast<uint64_t>(a[e]), y = static_cast<uint64_t>(b[e]);
    bits |= (x + p) | (y + p) | (x + y + p);
    a[e] = static_cast<int64_t>(x + y);
  }
  if (bound > 0 && (bits & high_bits(p)) == 0) return n;
  subtract(a, b, n);
  int64_t e = 0;
  while (e < n && !is_sum_outside(a[e], b[e], bound)) ++e;
  if (e < n) return e;
  for (e = 0; e < n; ++e) a[e] += b[e];
  return n;
}

}  // namespace gvm
