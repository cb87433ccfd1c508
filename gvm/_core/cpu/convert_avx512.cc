// Convert and Philox in AVX-512. Random words are made a chunk at a time, whole blocks from the one
// that holds the first element on, and read back from where that element stands.
#include "cpu/kernels.h"

#if GVM_X86_64

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,popcnt"))), \
                             apply_to = function)
#define GVM_UNROLL _Pragma("clang loop unroll(full)")
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,popcnt")
// GCC 12's own headers read variables that they leave uninitialised on purpose.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#define GVM_UNROLL _Pragma("GCC unroll 32")
#endif

namespace gvm {

namespace {

constexpr int kBatch = 8;  // blocks in a vector, one in each 64-bit lane

// Eight blocks at a time: word j of lane i in the low half of c[j]. The high halves hold what is
// left of the products; a product reads only low halves.
struct Philox {
  static constexpr uint64_t kM0 = 0xD2511F53, kM1 = 0xCD9E8D57;
  uint64_t keys[20];  // of each round, for words 0 and 2
  uint64_t c1, c2, c3;

  Philox(uint64_t seed, uint32_t site, uint64_t step, Purpose purpose)
      : c1(site << 8),
        c2(step & 0xffffffffu),
        c3((static_cast<uint32_t>(purpose) << 24) | ((step >> 32) & 0xffffffu)) {
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
      keys[2 * round] = k0;
      keys[2 * round + 1] = k1;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
  }

  static __m512i repeat(uint64_t v) { return _mm512_set1_epi64(static_cast<int64_t>(v)); }

  // What rounds 0 and 1 make of the counter's words above the first, for blocks with the same high
  // bits: their words 0 and 1 after round 0 are those of all.
  struct Start {
    __m512i word2, word0, word2_next, word3_next;

    Start(const Philox& of, uint64_t block) {
      const uint64_t product = kM1 * of.c2;
      const uint64_t word = (product >> 32) ^ (of.c1 | (block >> 32)) ^ of.keys[0];
      const uint64_t next = kM0 * (word & 0xffffffffu);
      word2 = repeat(of.c3 ^ of.keys[1]);
      word0 = repeat(product ^ of.keys[2]);
      word2_next = repeat((next >> 32) ^ of.keys[3]);
      word3_next = repeat(next);
    }
  };

  // Blocks [block, block + 8 N), whose high 32 bits are those of `start`.
  template <int N>
  void blocks(const Start& start, uint64_t block, uint32_t* words) const {
    // Lanes 2i and 2i + 1 hold blocks i and i + 4, so that interleaving pairs puts blocks in order.
    const __m512i first = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    const __m512i m0 = repeat(kM0), m1 = repeat(kM1);
    __m512i x0[N], x1[N], x2[N], x3[N];
    GVM_UNROLL
    for (int n = 0; n < N; ++n) {
      const __m512i c0 = _mm512_add_epi64(repeat(block + static_cast<uint64_t>(kBatch * n)), first);
      const __m512i p0 = _mm512_mul_epu32(m0, c0);
      const __m512i p1 =
          _mm512_mul_epu32(m1, _mm512_xor_si512(_mm512_srli_epi64(p0, 32), start.word2));
      x0[n] = _mm512_xor_si512(_mm512_srli_epi64(p1, 32), start.word0);
      x1[n] = p1;
      x2[n] = _mm512_xor_si512(p0, start.word2_next);
      x3[n] = start.word3_next;
    }
    GVM_UNROLL
    for (int round = 2; round < 10; ++round) {
      const __m512i key_0 = repeat(keys[2 * round]), key_1 = repeat(keys[2 * round + 1]);
      GVM_UNROLL
      for (int n = 0; n < N; ++n) {
        const __m512i p0 = _mm512_mul_epu32(m0, x0[n]), p1 = _mm512_mul_epu32(m1, x2[n]);
        x0[n] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), x1[n], key_0, 0x96);
        x2[n] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), x3[n], key_1, 0x96);
        x1[n] = p1;
        x3[n] = p0;
      }
    }
    GVM_UNROLL
    for (int n = 0; n < N; ++n) {
      const __mmask16 odd = 0xaaaa;
      const __m512i w01 = _mm512_mask_blend_epi32(odd, x0[n], _mm512_slli_epi64(x1[n], 32));
      const __m512i w23 = _mm512_mask_blend_epi32(odd, x2[n], _mm512_slli_epi64(x3[n], 32));
      uint32_t* to = words + 4 * kBatch * n;
      _mm512_storeu_si512(to, _mm512_unpacklo_epi64(w01, w23));
      _mm512_storeu_si512(to + 2 * kBatch, _mm512_unpackhi_epi64(w01, w23));
    }
  }

  // Whole vectors: `words` has room for `count` rounded up to 8.
  void fill(uint64_t block, int64_t count, uint32_t* words) const {
    while (count > 0) {
      // As far as the high bits stay. A vector across their change is right up to there.
      const uint64_t left = (uint64_t{1} << 32) - (block & 0xffffffffu);
      const int64_t some = static_cast<uint64_t>(count) < left ? count : static_cast<int64_t>(left);
      const Start start(*this, block);
      int64_t i = 0;
      // So many vectors together hide the latency of a round.
      for (; i + 3 * kBatch < some; i += 4 * kBatch) {
        blocks<4>(start, block + static_cast<uint64_t>(i), words + 4 * i);
      }
      for (; i + kBatch < some; i += 2 * kBatch) {
        blocks<2>(start, block + static_cast<uint64_t>(i), words + 4 * i);
      }
      if (i < some) blocks<1>(start, block + static_cast<uint64_t>(i), words + 4 * i);
      block += static_cast<uint64_t>(some);
      words += 4 * some;
      count -= some;
    }
  }
};

void random_blocks(uint64_t seed, uint32_t site, uint64_t step, Purpose purpose, uint64_t first,
                   int64_t count, uint32_t* words) {
  const Philox philox(seed, site, step, purpose);
  const bool high_bits_stay = (first & 0xffffffffu) + static_cast<uint64_t>(count) <= 0xffffffffu;
  const int64_t whole = high_bits_stay ? count / kBatch * kBatch : 0;
  philox.fill(first, whole, words);
  for (int64_t i = whole; i < count; i += kBatch) {
    uint32_t rest[2 * 4 * kBatch];
    const int64_t some = count - i < kBatch ? count - i : kBatch;
    philox.fill(first + static_cast<uint64_t>(i), some, rest);
    __builtin_memcpy(words + 4 * i, rest, static_cast<size_t>(some) * 16);
  }
}

// How a vector is rounded; see fixed.h for the forms and why they are exact.
enum class Mode { left, nearest, noise16, noise32, noise32_after };

constexpr int kChunk = 512;  // elements whose random words are held at a time

__mmask16 mask16(int64_t left) {
  return static_cast<__mmask16>(left >= 16 ? 0xffff : (1 << left) - 1);
}
__mmask8 mask8(int64_t left) { return static_cast<__mmask8>(left >= 8 ? 0xff : (1 << left) - 1); }

// 16 lanes of 32 bits.
struct Narrow {
  static constexpr int kLanes = 16;
  __m512i discarded, bump, one, min16, range16;
  __m128i shift, noise_shift;

  explicit Narrow(const ConvertSite& site)
      : discarded(_mm512_set1_epi32(static_cast<int>((1u << site.shift) - 1))),
        bump(_mm512_set1_epi32(static_cast<int>((1u << (site.shift - 1)) - 1))),
        one(_mm512_set1_epi32(1)),
        min16(_mm512_set1_epi32(0x8000)),
        range16(_mm512_set1_epi32(0xffff)),
        shift(_mm_cvtsi32_si128(site.shift)),
        noise_shift(_mm_cvtsi32_si128((site.shift <= 16 ? 16 : 32) - site.shift)) {}

  static __m512i load(const int16_t* p, int64_t left) {
    return _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(mask16(left), p));
  }
  static __m512i load(const int32_t* p, int64_t left) {
    return _mm512_maskz_loadu_epi32(mask16(left), p);
  }

  template <Mode mode>
  __m512i round(__m512i a, const char* random) const {
    const __m512i q = _mm512_sra_epi32(a, shift);
    __m512i add;
    if constexpr (mode == Mode::nearest) {
      add = _mm512_add_epi32(bump, _mm512_and_si512(q, one));
    } else if constexpr (mode == Mode::noise16) {
      add = _mm512_srl_epi32(
          _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(random))),
          noise_shift);
    } else {
      add = _mm512_srl_epi32(_mm512_loadu_si512(random), noise_shift);
    }
    const __m512i low = _mm512_add_epi32(_mm512_and_si512(a, discarded), add);
    return _mm512_add_epi32(q, _mm512_srl_epi32(low, shift));
  }

  // Stores and returns the number of clamps.
  int put(__m512i q, int64_t left, bool relu, int16_t* to) const {
    const __mmask16 mask = mask16(left);
    const __mmask16 out = _mm512_mask_cmpgt_epu32_mask(mask, _mm512_add_epi32(q, min16), range16);
    __m256i narrow = _mm512_cvtsepi32_epi16(q);
    if (relu) narrow = _mm256_max_epi16(narrow, _mm256_setzero_si256());
    _mm256_mask_storeu_epi16(to, mask, narrow);
    return _mm_popcnt_u32(out);
  }
  int put(__m512i q, int64_t left, bool relu, int32_t* to) const {
    if (relu) q = _mm512_max_epi32(q, _mm512_setzero_si512());
    _mm512_mask_storeu_epi32(to, mask16(left), q);
    return 0;
  }
};

// 8 lanes of 64 bits.
struct Wide {
  static constexpr int kLanes = 8;
  __m512i discarded, bump, one;
  __m512i max16, min16, max32, min32;
  __m128i shift, noise_shift, before, half;

  explicit Wide(const ConvertSite& site) : one(_mm512_set1_epi64(1)) {
    const int s = site.shift;
    const int last = s > 32 && site.rounding != Rounding::nearest ? 32 : s;
    shift = _mm_cvtsi32_si128(last > 0 ? last : -s);
    noise_shift = _mm_cvtsi32_si128((last <= 16 ? 16 : 32) - (last > 32 ? 32 : last));
    before = _mm_cvtsi32_si128(s - last);
    half = _mm_cvtsi32_si128(s - last - 1);
    const uint64_t unit = last > 0 ? uint64_t{1} << last : 1;
    discarded = _mm512_set1_epi64(static_cast<int64_t>(unit - 1));
    bump = _mm512_set1_epi64(static_cast<int64_t>(unit / 2 - 1));
    max16 = _mm512_set1_epi64(0x7fff);
    min16 = _mm512_set1_epi64(-0x8000);
    max32 = _mm512_set1_epi64(0x7fffffff);
    min32 = _mm512_set1_epi64(-int64_t{0x80000000});
  }

  static __m512i load(const int16_t* p, int64_t left) {
    return _mm512_cvtepi16_epi64(_mm_maskz_loadu_epi16(mask8(left), p));
  }
  static __m512i load(const int32_t* p, int64_t left) {
    return _mm512_cvtepi32_epi64(_mm256_maskz_loadu_epi32(mask8(left), p));
  }
  static __m512i load(const int64_t* p, int64_t left) {
    return _mm512_maskz_loadu_epi64(mask8(left), p);
  }

  template <Mode mode>
  __m512i round(__m512i a, const char* random) const {
    if constexpr (mode == Mode::left) return a;  // put() shifts
    if constexpr (mode == Mode::noise32_after) {
      // Half up to 32 bits more than are wanted.
      a = _mm512_add_epi64(_mm512_sra_epi64(a, before),
                           _mm512_and_si512(_mm512_sra_epi64(a, half), one));
    }
    const __m512i q = _mm512_sra_epi64(a, shift);
    __m512i add;
    if constexpr (mode == Mode::nearest) {
      add = _mm512_add_epi64(bump, _mm512_and_si512(q, one));
    } else if constexpr (mode == Mode::noise16) {
      add = _mm512_srl_epi64(
          _mm512_cvtepu16_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(random))),
          noise_shift);
    } else {
      add = _mm512_srl_epi64(
          _mm512_cvtepu32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(random))),
          noise_shift);
    }
    const __m512i low = _mm512_add_epi64(_mm512_and_si512(a, discarded), add);
    return _mm512_add_epi64(q, _mm512_srl_epi64(low, shift));
  }

  // q * 2^shift, at the limits where it passes them.
  __m512i shift_left(__m512i q, __m512i min, __m512i max) const {
    const __m512i above = _mm512_sra_epi64(max, shift);
    // ceil(min / 2^shift) = -floor(-min / 2^shift).
    const __m512i zero = _mm512_setzero_si512();
    const __m512i below =
        _mm512_sub_epi64(zero, _mm512_sra_epi64(_mm512_sub_epi64(zero, min), shift));
    __m512i value = _mm512_sll_epi64(q, shift);
    // One past the limit, so that the clamp below counts it.
    value = _mm512_mask_blend_epi64(_mm512_cmpgt_epi64_mask(q, above), value,
                                    _mm512_add_epi64(max, one));
    return _mm512_mask_blend_epi64(_mm512_cmplt_epi64_mask(q, below), value,
                                   _mm512_sub_epi64(min, one));
  }

  template <Mode mode>
  __m512i clamp(__m512i q, int64_t left, bool relu, __m512i min, __m512i max, int* clamps) const {
    if constexpr (mode == Mode::left) q = shift_left(q, min, max);
    const __mmask8 mask = mask8(left);
    *clamps = _mm_popcnt_u32(static_cast<unsigned>(_mm512_mask_cmpgt_epi64_mask(mask, q, max) |
                                                   _mm512_mask_cmplt_epi64_mask(mask, q, min)));
    const __m512i floor = relu ? _mm512_setzero_si512() : min;
    return _mm512_min_epi64(_mm512_max_epi64(q, floor), max);
  }

  template <Mode mode>
  int put(__m512i q, int64_t left, bool relu, int16_t* to) const {
    int clamps = 0;
    const __m512i value = clamp<mode>(q, left, relu, min16, max16, &clamps);
    _mm_mask_storeu_epi16(to, mask8(left), _mm512_cvtepi64_epi16(value));
    return clamps;
  }
  template <Mode mode>
  int put(__m512i q, int64_t left, bool relu, int32_t* to) const {
    int clamps = 0;
    const __m512i value = clamp<mode>(q, left, relu, min32, max32, &clamps);
    _mm256_mask_storeu_epi32(to, mask8(left), _mm512_cvtepi64_epi32(value));
    return clamps;
  }
};

template <typename Lanes, Mode mode, typename Source, typename Target>
int64_t rounded(const Source* from, int64_t n, const ConvertSite& site, uint64_t index,
                Target* to) {
  constexpr bool kDraws =
      mode == Mode::noise16 || mode == Mode::noise32 || mode == Mode::noise32_after;
  constexpr int kBytes = mode == Mode::noise16 ? 2 : 4, kPerBlock = 16 / kBytes;
  const Lanes lanes(site);
  const Philox philox(site.seed, site.site, site.step, static_cast<Purpose>(site.rounding));
  const bool relu = site.relu;
  // A chunk and the rest of two blocks, and what the last vectors read and write beyond.
  alignas(64) uint32_t words[kDraws ? (kChunk / kPerBlock + 2 * kBatch + 2) * 4 : 4];
  int64_t clamps = 0;
  while (n > 0) {
    const int64_t skip = kDraws ? static_cast<int64_t>(index % kPerBlock) : 0;
    const int64_t count = n < kChunk - skip ? n : kChunk - skip;
    if constexpr (kDraws) {
      philox.fill(index / kPerBlock, (skip + count + kPerBlock - 1) / kPerBlock, words);
    }
    const char* random = reinterpret_cast<const char*>(words) + skip * kBytes;
    for (int64_t i = 0; i < count; i += Lanes::kLanes) {
      const __m512i a = Lanes::load(from + i, count - i);
      const __m512i q = lanes.template round<mode>(a, random + i * kBytes);
      if constexpr (Lanes::kLanes == 16) {
        clamps += lanes.put(q, count - i, relu, to + i);
      } else {
        clamps += lanes.template put<mode>(q, count - i, relu, to + i);
      }
    }
    from += count;
    to += count;
    index += static_cast<uint64_t>(count);
    n -= count;
  }
  return clamps;
}

template <typename Source, typename Target>
int64_t run(const void* src, int64_t n, const ConvertSite& site, uint64_t index, void* dst) {
  const Source* from = static_cast<const Source*>(src);
  Target* to = static_cast<Target*>(dst);
  const int s = site.shift;
  const bool nearest = site.rounding == Rounding::nearest;
  if (s < -62 || s > (nearest ? 63 : 95)) {
    const int row = sizeof(Source) == 2 ? 0 : sizeof(Source) == 4 ? 1 : 2;
    return kConvertScalar.run[row][sizeof(Target) == 2 ? 0 : 1](src, n, site, index, dst);
  }
  if (s <= 0) return rounded<Wide, Mode::left>(from, n, site, index, to);
  if constexpr (sizeof(Source) <= 4) {
    if (s <= 31) {
      if (nearest) return rounded<Narrow, Mode::nearest>(from, n, site, index, to);
      if (s <= 16) return rounded<Narrow, Mode::noise16>(from, n, site, index, to);
      return rounded<Narrow, Mode::noise32>(from, n, site, index, to);
    }
  }
  if (nearest) return rounded<Wide, Mode::nearest>(from, n, site, index, to);
  if (s <= 16) return rounded<Wide, Mode::noise16>(from, n, site, index, to);
  if (s <= 32) return rounded<Wide, Mode::noise32>(from, n, site, index, to);
  return rounded<Wide, Mode::noise32_after>(from, n, site, index, to);
}

}  // namespace

const ConvertKernels kConvertAvx512 = {{{run<int16_t, int16_t>, run<int16_t, int32_t>},
                                        {run<int32_t, int16_t>, run<int32_t, int32_t>},
                                        {run<int64_t, int16_t>, run<int64_t, int32_t>}},
                                       random_blocks};

}  // namespace gvm

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
