// Which sums of products are proved to fit 32 bits, by the sums of squares of packed lines.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/kernels.h"
#include "cpu/panels.h"

namespace gvm {

constexpr int64_t kProofPairs = 16;  // the terms of one sum of squares, in pairs
constexpr int64_t kFinePairs = 4;    // of one that is taken where those prove nothing

// |sum| < 2^31 by Cauchy-Schwarz iff (sum of a squared) * (sum of b squared) < 2^62. A quarter of
// it in size leaves room for a bias below 2^30.
constexpr uint64_t kProof = uint64_t{1} << 62;
constexpr uint64_t kProofWithBias = uint64_t{1} << 60;

// The most that b's sum of squares may be, given a's: floor((limit - 1) / a).
inline uint64_t partner(uint64_t a, uint64_t limit) {
  return a == 0 ? ~uint64_t{0} : (limit - 1) / a;
}

// Whether |sum| < 2^31 - 2^16, by sums of squares of at most 2^44 that are rounded up to 2^14: the
// product of the two must be below (2^31 - 2^16)^2.
inline bool is_proved(uint64_t a, uint64_t b) {
  const uint64_t unit = uint64_t{1} << 14;
  return ((a + unit - 1) / unit) * ((b + unit - 1) / unit) <
         (uint64_t{1} << 34) - (uint64_t{1} << 20);
}

// Fills the norms of a panel, which may be narrower than the others.
inline void prove(const GemmKernels& kernels, const Panels& panels, int64_t i, int width) {
  kernels.norms(panels.panel(i), panels.pairs, kProofPairs, width, panels.norm(i));
}

// Joins blocks of `unit` pairs while their sums are proved, by their norms in both operands, and
// returns how many pieces there are, or 0 where not even one block's sum is proved. counts: pairs
// of each.
inline int cut_blocks(const uint64_t* a, const uint64_t* b, Span pairs, int64_t unit,
                      int32_t* counts) {
  int pieces = 0;
  uint64_t a_norm = 0, b_norm = 0;
  counts[0] = 0;
  for (int64_t first = pairs.first; first < pairs.end(); first += unit) {
    const uint64_t a_block = a[first / unit], b_block = b[first / unit];
    const int32_t count = static_cast<int32_t>(std::min(unit, pairs.end() - first));
    if (is_proved(a_norm + a_block, b_norm + b_block)) {
      a_norm += a_block;
      b_norm += b_block;
      counts[pieces] += count;
      continue;
    }
    if (!is_proved(a_block, b_block)) return 0;
    if (counts[pieces] != 0) ++pieces;
    a_norm = a_block;
    b_norm = b_block;
    counts[pieces] = count;
  }
  return pieces + 1;
}

// Whether blocks of kFinePairs would be proved if the squares were spread evenly over them.
inline bool may_cut_finer(const uint64_t* a, const uint64_t* b, Span pairs) {
  constexpr uint64_t kParts = kProofPairs / kFinePairs;
  for (int64_t block = pairs.first / kProofPairs; block * kProofPairs < pairs.end(); ++block) {
    if (!is_proved(a[block] / kParts, b[block] / kParts)) return false;
  }
  return true;
}

}  // namespace gvm
