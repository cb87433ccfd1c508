// Randomness: Philox4x32-10 and the layout of its counter (docs/arithmetic.md, section 3).
//
// A draw is a function of where it is used and of nothing else, so tiling, padding, micro-batches,
// threads and workers never move a bit. Twin: gvm/random.py; known answers: tests/vectors/random.
#pragma once

#include <cstdint>

#include "fixed.h"

namespace gvm {

// What a draw is for. Published numbers; 0 is none (it is Rounding::nearest, which draws nothing).
enum class Purpose : uint8_t {
  forward = 1,
  backward = 2,
  update = 3,
  optimizer_state = 4,
  dropout = 5,
  initialisation = 6,
  data_order = 7,
  user = 8,
};

// The purpose of a stochastic rounding's draws.
constexpr Purpose purpose_of(Rounding rounding) { return static_cast<Purpose>(rounding); }

// Exclusive bounds: beyond them a program or a run is refused, never wrapped.
constexpr uint64_t kIndexLimit = uint64_t{1} << 42;
constexpr uint64_t kSiteLimit = uint64_t{1} << 24;
constexpr uint64_t kStepLimit = uint64_t{1} << 56;

// Whether every element of a tensor of `elements` can draw at this site and step.
constexpr bool draws_in_range(uint64_t site, uint64_t step, uint64_t elements) {
  return site < kSiteLimit && step < kStepLimit && elements <= kIndexLimit;
}

// Four words of output, or of counter, least significant first.
struct PhiloxBlock {
  uint32_t word[4];
};

struct PhiloxKey {
  uint32_t word[2];
};

// Ten rounds of Philox4x32 (Salmon et al., SC'11): two products, and a key that moves by constants.
constexpr PhiloxBlock philox4x32_10(PhiloxBlock counter, PhiloxKey key) {
  uint32_t c0 = counter.word[0], c1 = counter.word[1], c2 = counter.word[2], c3 = counter.word[3];
  uint32_t k0 = key.word[0], k1 = key.word[1];
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c0 = n0;
    c1 = static_cast<uint32_t>(p1);
    c2 = n2;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// The counter of a block: c0 = block's low 32 bits; c1 = site << 8 | block's high 8 bits;
// c2 = step's low 32 bits; c3 = purpose << 24 | step's high 24 bits. Arguments as draws_in_range
// and block < 2^40, which callers have checked; higher bits are ignored.
constexpr PhiloxBlock random_counter(uint32_t site, uint64_t step, Purpose purpose,
                                     uint64_t block) {
  return {
      {static_cast<uint32_t>(block), (site << 8) | (static_cast<uint32_t>(block >> 32) & 0xffu),
       static_cast<uint32_t>(step),
       (static_cast<uint32_t>(purpose) << 24) | (static_cast<uint32_t>(step >> 32) & 0xffffffu)}};
}

// The key is the 64-bit seed, low word first.
constexpr PhiloxKey random_key(uint64_t seed) {
  return {{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)}};
}

// Four 32-bit draws (elements 4 * block ...) or eight 16-bit draws (elements 8 * block ...).
constexpr PhiloxBlock random_block(uint64_t seed, uint32_t site, uint64_t step, Purpose purpose,
                                   uint64_t block) {
  return philox4x32_10(random_counter(site, step, purpose, block), random_key(seed));
}

// Half-word i of a block, i in [0, 8), the low half of each word first.
constexpr uint16_t half_of(const PhiloxBlock& block, unsigned i) {
  return static_cast<uint16_t>(block.word[(i & 7) >> 1] >> (16 * (i & 1)));
}

// The 32-bit draw of element idx: word idx & 3 of block idx >> 2.
constexpr uint32_t random_word32(uint64_t seed, uint32_t site, uint64_t step, Purpose purpose,
                                 uint64_t idx) {
  return random_block(seed, site, step, purpose, idx >> 2).word[idx & 3];
}

// The 16-bit draw of element idx: half-word idx & 7 of block idx >> 3.
constexpr uint16_t random_half(uint64_t seed, uint32_t site, uint64_t step, Purpose purpose,
                               uint64_t idx) {
  return half_of(random_block(seed, site, step, purpose, idx >> 3), static_cast<unsigned>(idx & 7));
}

// The r of convert(A, s, rounding, r, ...) at element idx; 0 where that draws nothing.
constexpr uint32_t random_for_convert(uint64_t seed, uint32_t site, uint64_t step,
                                      Rounding rounding, int s, uint64_t idx) {
  const int bits = rounding == Rounding::nearest ? 0 : convert_random_bits(s);
  if (bits == 0) return 0;
  return bits == 16 ? random_half(seed, site, step, purpose_of(rounding), idx)
                    : random_word32(seed, site, step, purpose_of(rounding), idx);
}

// The r of quotient(N, D, rounding, r, ...) at element idx; 0 where that draws nothing.
constexpr uint32_t random_for_quotient(uint64_t seed, uint32_t site, uint64_t step,
                                       Rounding rounding, uint64_t idx) {
  return rounding == Rounding::nearest ? 0
                                       : random_word32(seed, site, step, purpose_of(rounding), idx);
}

// out[i] = random_word32(..., first + i) for i in [0, count), a block at a time.
inline void fill_words(uint64_t seed, uint32_t site, uint64_t step, Purpose purpose, uint64_t first,
                       uint64_t count, uint32_t* out) {
  for (uint64_t i = 0; i < count;) {
    const PhiloxBlock block = random_block(seed, site, step, purpose, (first + i) >> 2);
    for (uint64_t j = (first + i) & 3; j < 4 && i < count; ++j) out[i++] = block.word[j];
  }
}

// out[i] = random_half(..., first + i) for i in [0, count), a block at a time.
inline void fill_halves(uint64_t seed, uint32_t site, uint64_t step, Purpose purpose,
                        uint64_t first, uint64_t count, uint16_t* out) {
  for (uint64_t i = 0; i < count;) {
    const PhiloxBlock block = random_block(seed, site, step, purpose, (first + i) >> 3);
    for (unsigned j = static_cast<unsigned>((first + i) & 7); j < 8 && i < count; ++j) {
      out[i++] = half_of(block, j);
    }
  }
}

}  // namespace gvm
