// Convert and Philox in AVX2: as in convert_avx512.cc, with half the lanes and no 64-bit arithmetic
// shift, which a biased logical one replaces.
#include "cpu/kernels.h"

#if GVM_X86_64

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,popcnt"))), apply_to = function)
#else
#pragma GCC target("avx2,popcnt")
#endif

namespace gvm {

namespace {

constexpr int kBatch = 4;  // blocks in a vector, one in each 64-bit lane

inline __m256i load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline __m128i load128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline __m128i load64(const void* p) { return _mm_loadl_epi64(static_cast<const __m128i*>(p)); }
inline void store256(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
inline void store128(void* p, __m128i v) { _mm_storeu_si128(static_cast<__m128i*>(p), v); }
inline void store64(void* p, __m128i v) { _mm_storel_epi64(static_cast<__m128i*>(p), v); }

// Four blocks at a time: word j of lane i in the low half of c[j]. The high halves hold what is
// left of the products; a product reads only low halves.
struct Philox {
  __m256i first, c2, c3, site;
  uint32_t key0, key1;

  Philox(uint64_t seed, uint32_t site_number, uint64_t step, Purpose purpose)
      // Lanes 2i and 2i + 1 hold blocks i and i + 2, so that interleaving pairs puts blocks in
      // order.
      : first(_mm256_setr_epi64x(0, 2, 1, 3)),
        c2(_mm256_set1_epi64x(static_cast<int64_t>(step & 0xffffffffu))),
        c3(_mm256_set1_epi64x(static_cast<int64_t>((static_cast<uint32_t>(purpose) << 24) |
                                                   ((step >> 32) & 0xffffffu)))),
        site(_mm256_set1_epi64x(static_cast<int64_t>(site_number << 8))),
        key0(static_cast<uint32_t>(seed)),
        key1(static_cast<uint32_t>(seed >> 32)) {}

  template <int N>
  void blocks(uint64_t block, uint32_t* words) const {
    __m256i x0[N], x1[N], x2[N], x3[N];
    const __m256i m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
    for (int n = 0; n < N; ++n) {
      const uint64_t at = block + static_cast<uint64_t>(kBatch * n);
      x0[n] = _mm256_add_epi64(_mm256_set1_epi64x(static_cast<int64_t>(at)), first);
      x1[n] = _mm256_or_si256(site, _mm256_srli_epi64(x0[n], 32));
      x2[n] = c2;
      x3[n] = c3;
    }
    uint32_t k0 = key0, k1 = key1;
    for (int round = 0; round < 10; ++round) {
      const __m256i key_0 = _mm256_set1_epi64x(k0), key_1 = _mm256_set1_epi64x(k1);
      for (int n = 0; n < N; ++n) {
        const __m256i p0 = _mm256_mul_epu32(m0, x0[n]), p1 = _mm256_mul_epu32(m1, x2[n]);
        x0[n] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p1, 32), x1[n]), key_0);
        x2[n] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p0, 32), x3[n]), key_1);
        x1[n] = p1;
        x3[n] = p0;
      }
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    for (int n = 0; n < N; ++n) {
      const __m256i w01 = _mm256_blend_epi32(x0[n], _mm256_slli_epi64(x1[n], 32), 0xaa);
      const __m256i w23 = _mm256_blend_epi32(x2[n], _mm256_slli_epi64(x3[n], 32), 0xaa);
      uint32_t* to = words + 4 * kBatch * n;
      store256(to, _mm256_unpacklo_epi64(w01, w23));
      store256(to + 2 * kBatch, _mm256_unpackhi_epi64(w01, w23));
    }
  }

  // Whole vectors: `words` has room for `count` rounded up to 4.
  void fill(uint64_t block, int64_t count, uint32_t* words) const {
    int64_t i = 0;
    for (; i + kBatch < count; i += 2 * kBatch) {
      blocks<2>(block + static_cast<uint64_t>(i), words + 4 * i);
    }
    if (i < count) blocks<1>(block + static_cast<uint64_t>(i), words + 4 * i);
  }
};

void random_blocks(uint64_t seed, uint32_t site, uint64_t step, Purpose purpose, uint64_t first,
                   int64_t count, uint32_t* words) {
  const Philox philox(seed, site, step, purpose);
  const int64_t whole = count / kBatch * kBatch;
  philox.fill(first, whole, words);
  if (whole < count) {
    uint32_t rest[4 * kBatch];
    philox.fill(first + static_cast<uint64_t>(whole), 1, rest);
    __builtin_memcpy(words + 4 * whole, rest, static_cast<size_t>(count - whole) * 16);
  }
}

// How a vector is rounded; see fixed.h for the forms and why they are exact.
enum class Mode { left, nearest, noise16, noise32, noise32_after };

constexpr int kChunk = 512;  // elements whose random words are held at a time

// 8 lanes of 32 bits.
struct Narrow {
  static constexpr int kLanes = 8;
  __m256i discarded, bump, one;
  __m128i shift, noise_shift;

  explicit Narrow(const ConvertSite& site)
      : discarded(_mm256_set1_epi32(static_cast<int>((1u << site.shift) - 1))),
        bump(_mm256_set1_epi32(static_cast<int>((1u << (site.shift - 1)) - 1))),
        one(_mm256_set1_epi32(1)),
        shift(_mm_cvtsi32_si128(site.shift)),
        noise_shift(_mm_cvtsi32_si128((site.shift <= 16 ? 16 : 32) - site.shift)) {}

  static __m256i load(const int16_t* p) { return _mm256_cvtepi16_epi32(load128(p)); }
  static __m256i load(const int32_t* p) { return load256(p); }

  template <Mode mode>
  __m256i round(__m256i a, const char* random) const {
    const __m256i q = _mm256_sra_epi32(a, shift);
    __m256i add;
    if constexpr (mode == Mode::nearest) {
      add = _mm256_add_epi32(bump, _mm256_and_si256(q, one));
    } else if constexpr (mode == Mode::noise16) {
      add = _mm256_srl_epi32(_mm256_cvtepu16_epi32(load128(random)), noise_shift);
    } else {
      add = _mm256_srl_epi32(load256(random), noise_shift);
    }
    const __m256i low = _mm256_add_epi32(_mm256_and_si256(a, discarded), add);
    return _mm256_add_epi32(q, _mm256_srl_epi32(low, shift));
  }

  // Stores and returns the number of clamps.
  template <Mode mode>
  int put(__m256i q, bool relu, int16_t* to) const {
    const __m128i packed =
        _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    const __m256i same = _mm256_cmpeq_epi32(_mm256_cvtepi16_epi32(packed), q);
    const int kept = _mm256_movemask_ps(_mm256_castsi256_ps(same));
    store128(to, relu ? _mm_max_epi16(packed, _mm_setzero_si128()) : packed);
    return kLanes - _mm_popcnt_u32(static_cast<unsigned>(kept));
  }
  template <Mode mode>
  int put(__m256i q, bool relu, int32_t* to) const {
    store256(to, relu ? _mm256_max_epi32(q, _mm256_setzero_si256()) : q);
    return 0;
  }
};

// 4 lanes of 64 bits.
struct Wide {
  static constexpr int kLanes = 4;
  __m256i discarded, bump, one, sign;
  __m128i shift, noise_shift, before, half;

  explicit Wide(const ConvertSite& site)
      : one(_mm256_set1_epi64x(1)), sign(_mm256_slli_epi64(_mm256_set1_epi64x(1), 63)) {
    const int s = site.shift;
    const int last = s > 32 && site.rounding != Rounding::nearest ? 32 : s;
    shift = _mm_cvtsi32_si128(last > 0 ? last : -s);
    noise_shift = _mm_cvtsi32_si128((last <= 16 ? 16 : 32) - (last > 32 ? 32 : last));
    before = _mm_cvtsi32_si128(s - last);
    half = _mm_cvtsi32_si128(s - last - 1);
    const uint64_t unit = last > 0 ? uint64_t{1} << last : 1;
    discarded = _mm256_set1_epi64x(static_cast<int64_t>(unit - 1));
    bump = _mm256_set1_epi64x(static_cast<int64_t>(unit / 2 - 1));
  }

  static __m256i load(const int16_t* p) { return _mm256_cvtepi16_epi64(load64(p)); }
  static __m256i load(const int32_t* p) { return _mm256_cvtepi32_epi64(load128(p)); }
  static __m256i load(const int64_t* p) { return load256(p); }

  // The arithmetic shift: v + 2^63 is not negative, and its shift is 2^63 >> n too much.
  __m256i shift_right(__m256i v, __m128i n) const {
    return _mm256_sub_epi64(_mm256_srl_epi64(_mm256_xor_si256(v, sign), n),
                            _mm256_srl_epi64(sign, n));
  }

  template <Mode mode>
  __m256i round(__m256i a, const char* random) const {
    if constexpr (mode == Mode::left) return a;  // put() shifts
    if constexpr (mode == Mode::noise32_after) {
      // Half up to 32 bits more than are wanted.
      a = _mm256_add_epi64(shift_right(a, before),
                           _mm256_and_si256(_mm256_srl_epi64(a, half), one));
    }
    const __m256i q = shift_right(a, shift);
    __m256i add;
    if constexpr (mode == Mode::nearest) {
      add = _mm256_add_epi64(bump, _mm256_and_si256(q, one));
    } else if constexpr (mode == Mode::noise16) {
      add = _mm256_srl_epi64(_mm256_cvtepu16_epi64(load64(random)), noise_shift);
    } else {
      add = _mm256_srl_epi64(_mm256_cvtepu32_epi64(load128(random)), noise_shift);
    }
    const __m256i low = _mm256_add_epi64(_mm256_and_si256(a, discarded), add);
    return _mm256_add_epi64(q, _mm256_srl_epi64(low, shift));
  }

  // q, clamped to [min, max] and, in mode left, first shifted; the low halves of the lanes.
  template <Mode mode>
  __m128i clamp(__m256i q, int64_t min, int64_t max, bool relu, int* clamps) const {
    const __m256i most = _mm256_set1_epi64x(max), least = _mm256_set1_epi64x(min);
    __m256i above, below, value = q;
    if constexpr (mode == Mode::left) {
      // q * 2^shift > max iff q > floor(max / 2^shift); < min iff q < -floor(-min / 2^shift).
      const __m256i zero = _mm256_setzero_si256();
      above = _mm256_cmpgt_epi64(q, _mm256_srl_epi64(most, shift));
      below = _mm256_cmpgt_epi64(
          _mm256_sub_epi64(zero, _mm256_srl_epi64(_mm256_set1_epi64x(-min), shift)), q);
      value = _mm256_sll_epi64(q, shift);
    } else {
      above = _mm256_cmpgt_epi64(q, most);
      below = _mm256_cmpgt_epi64(least, q);
    }
    value = _mm256_blendv_epi8(value, most, above);
    value = _mm256_blendv_epi8(value, least, below);
    const __m256i out = _mm256_or_si256(above, below);
    *clamps = _mm_popcnt_u32(static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(out))));
    const __m256i even = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
    const __m128i low = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(value, even));
    return relu ? _mm_max_epi32(low, _mm_setzero_si128()) : low;
  }

  template <Mode mode>
  int put(__m256i q, bool relu, int16_t* to) const {
    int clamps = 0;
    const __m128i value = clamp<mode>(q, -0x8000, 0x7fff, relu, &clamps);
    store64(to, _mm_packs_epi32(value, value));
    return clamps;
  }
  template <Mode mode>
  int put(__m256i q, bool relu, int32_t* to) const {
    int clamps = 0;
    store128(to, clamp<mode>(q, -int64_t{0x80000000}, 0x7fffffff, relu, &clamps));
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
  // A chunk and the rest of two vectors of blocks.
  alignas(32) uint32_t words[kDraws ? (kChunk / kPerBlock + 2 * kBatch + 2) * 4 : 4];
  int64_t clamps = 0;
  while (n > 0) {
    const int64_t skip = kDraws ? static_cast<int64_t>(index % kPerBlock) : 0;
    const int64_t count = n < kChunk - skip ? n : kChunk - skip;
    if constexpr (kDraws) {
      philox.fill(index / kPerBlock, (skip + count + kPerBlock - 1) / kPerBlock, words);
    }
    const char* random = reinterpret_cast<const char*>(words) + skip * kBytes;
    int64_t i = 0;
    for (; i + Lanes::kLanes <= count; i += Lanes::kLanes) {
      const __m256i q = lanes.template round<mode>(Lanes::load(from + i), random + i * kBytes);
      clamps += lanes.template put<mode>(q, relu, to + i);
    }
    if (i < count) {
      // A last vector whose missing lanes are zero, which no mode clamps.
      const size_t left = static_cast<size_t>(count - i);
      Source in[Lanes::kLanes] = {};
      Target out[Lanes::kLanes];
      __builtin_memcpy(in, from + i, left * sizeof(Source));
      const __m256i q = lanes.template round<mode>(Lanes::load(in), random + i * kBytes);
      clamps += lanes.template put<mode>(q, relu, out);
      __builtin_memcpy(to + i, out, left * sizeof(Target));
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

const ConvertKernels kConvertAvx2 = {{{run<int16_t, int16_t>, run<int16_t, int32_t>},
                                      {run<int32_t, int16_t>, run<int32_t, int32_t>},
                                      {run<int64_t, int16_t>, run<int64_t, int32_t>}},
                                     random_blocks};

}  // namespace gvm

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
