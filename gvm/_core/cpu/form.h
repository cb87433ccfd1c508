// Freivalds' check: whether claimed numbers are the exact sums of a product, in less time than the
// product takes. Each axis of the result gets random weights; the sum of all elements times the
// weights of their indices, a multilinear form, is computed modulo a prime both from the claim and
// from the operands, each of which it reads once. If an element differs by less than the prime,
// the two agree by chance alone (docs/decisions has the bound).
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/kernel.h"

namespace gvm {

// Integers modulo p = 2^61 - 1, in [0, p).
constexpr int kPrimeBits = 61;
constexpr uint64_t kPrime = (uint64_t{1} << kPrimeBits) - 1;

constexpr uint64_t field_reduce(uint64_t x) {
  const uint64_t folded = (x & kPrime) + (x >> kPrimeBits);
  return folded >= kPrime ? folded - kPrime : folded;
}

constexpr uint64_t field_add(uint64_t a, uint64_t b) {
  return a + b >= kPrime ? a + b - kPrime : a + b;
}

constexpr uint64_t field_of(int64_t x) {
  if (x >= 0) return field_reduce(static_cast<uint64_t>(x));
  const uint64_t size = field_reduce(0 - static_cast<uint64_t>(x));
  return size == 0 ? 0 : kPrime - size;
}

constexpr uint64_t field_mul(uint64_t a, uint64_t b) {
  const UInt128 product = mul_unsigned(a, b);
  return field_add(product.lo & kPrime, (product.hi << 3) | (product.lo >> kPrimeBits));
}

// a * 2^bits, 0 <= bits < 61.
constexpr uint64_t field_shl(uint64_t a, int bits) {
  return ((a << bits) & kPrime) | (a >> (kPrimeBits - bits));
}

// A number for each of the two independent draws of weights.
struct Pair {
  uint64_t first = 0, second = 0;
};
constexpr Pair operator+(Pair a, Pair b) {
  return {field_add(a.first, b.first), field_add(a.second, b.second)};
}
constexpr Pair operator*(Pair a, Pair b) {
  return {field_mul(a.first, b.first), field_mul(a.second, b.second)};
}
constexpr bool operator==(Pair a, Pair b) { return a.first == b.first && a.second == b.second; }

// The weights of the last axis have kColumnBits bits, in halves of kHalfBits; those of the others
// kAxisBits.
constexpr int kHalfBits = 21, kColumnBits = 2 * kHalfBits, kAxisBits = 60;
constexpr int kKeyBytes = 32;

// Random weights of a result of rank >= 2.
struct Weights {
  int rank = 0;
  int64_t dims[kMaxRank] = {};
  std::vector<Pair> axis[kMaxRank];

  // Uniform, from a secret key: node and axis have their own.
  Weights(const uint8_t key[kKeyBytes], uint32_t node, const Tensor& result);
};

// The products of the weights of all axes but the last, row by row.
class RowWeights {
 public:
  RowWeights(const Weights& weights, int64_t row);
  Pair next();

 private:
  const Weights& w_;
  int64_t index_[kMaxRank] = {};
  Pair outer_;
  void multiply_outer();
};

// sums[i] = the sum over k < terms of term k of line i times weights[k], for i < lines. Term k of
// line i is at data[i * line_stride + k * term_stride]; one of the strides is 1.
void weigh_lines(const Call& call, const int16_t* data, int64_t line_stride, int64_t term_stride,
                 int64_t lines, int64_t terms, const Pair* weights, Pair* sums);

// The form of the exact result of a product, from its operands; false where it has none, and must
// be executed.
bool matmul_form(const Call& call, const Weights& w, Pair* value);
bool matmul_grad_weight_form(const Call& call, const Weights& w, Pair* value);
bool conv2d_form(const Call& call, const Weights& w, Pair* value);
bool conv2d_grad_input_form(const Call& call, const Weights& w, Pair* value);
bool conv2d_grad_weight_form(const Call& call, const Weights& w, Pair* value);

// What somebody says are the exact sums of a product: dense, i64 where `wide`, else i32.
struct Claim {
  const void* sums = nullptr;
  bool wide = false;
};

// The first element in which a claim is wrong.
struct Finding {
  bool wrong = false;
  int64_t element = 0, claimed = 0, computed = 0;
};

// Does what the kernel does for this call, with the claimed sums in place of its own, and checks
// them. `exact`: the product's result before anything fused, without data. *checked: false where
// the product was executed after all, and the claim not read. Where the claim is wrong, what the
// call makes is of no use.
Status run_claimed(const Kernel& kernel, const Call& call, const Tensor& exact, const Claim& claim,
                   const uint8_t key[kKeyBytes], uint32_t node, bool* checked, Finding* finding);

}  // namespace gvm
