// A quicker form of the square root of fixed.h.
#pragma once

#include "fixed.h"

namespace gvm {

// isqrt64 for any v, by division: v shifted to [2^62, 2^64), Newton's step on ever more of its
// leading bits; the last may be one too large.
constexpr uint64_t isqrt64_by_division(uint64_t v) {
  if (v == 0) return 0;
  const int places = (64 - bit_length(v)) / 2;
  const uint64_t x = v << (2 * places);
  uint64_t root = 1 + (x >> 62);
  for (int more = 1; more < 16; more = 2 * more + 1) {
    root = (root << more) + (x >> (62 - 3 * more)) / root;
  }
  const UInt128 square = mul_unsigned(root, root);
  if (square.hi != 0 || square.lo > x) root -= 1;
  return root >> places;
}

}  // namespace gvm
