// Packed lines of a matrix and how work on them is cut: what the GEMM engine is made of.
#pragma once

#include <cstdint>

namespace gvm {

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t align(int64_t bytes) { return divide_up(bytes, 64) * 64; }

struct Span {
  int64_t first, count;
  int64_t end() const { return first + count; }
};

// Part i of `parts` nearly equal ones of [0, total).
inline Span part(int64_t total, int64_t parts, int64_t i) {
  const int64_t first = total * i / parts;
  return {first, total * (i + 1) / parts - first};
}

// Packed lines of one operand. `norms` holds for every panel the largest sum of squares of its
// lines: one per block of kProofPairs, then that over all terms.
struct Panels {
  char* data;
  char* norms;
  int64_t pairs, blocks;
  int width;

  int64_t stride() const { return pairs * width * 2; }
  int16_t* panel(int64_t i) const { return reinterpret_cast<int16_t*>(data) + i * stride(); }
  uint64_t* norm(int64_t i) const { return reinterpret_cast<uint64_t*>(norms) + i * (blocks + 1); }
  uint64_t total(int64_t i) const { return norm(i)[blocks]; }

  int64_t data_bytes(int64_t panels) const { return align(panels * stride() * 2); }
  int64_t norm_bytes(int64_t panels) const { return align(panels * (blocks + 1) * 8); }
  int64_t bytes(int64_t panels) const { return data_bytes(panels) + norm_bytes(panels); }
  void place(char* memory, int64_t panels) {
    data = memory;
    norms = memory + data_bytes(panels);
  }
};

}  // namespace gvm
