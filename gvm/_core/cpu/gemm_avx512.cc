// The tile and packing loops in AVX-512 with VNNI. A tile is 14 rows by two vectors of 16 columns:
// 28 sums, two vectors of B and two broadcasts of A fill the 32 registers.
#include "cpu/kernels.h"

#if GVM_X86_64

#include <immintrin.h>

#include <utility>

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))), apply_to = function)
#define GVM_UNROLL _Pragma("clang loop unroll(full)")
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
// GCC 12's own headers read variables that they leave uninitialised on purpose.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#define GVM_UNROLL _Pragma("GCC unroll 32")
#endif

namespace gvm {

namespace {

constexpr int kRows = 14, kColumns = 32, kLanes = 16;

inline __mmask16 first_lanes(int count) {
  return static_cast<__mmask16>(count >= kLanes ? 0xffff : (1 << count) - 1);
}

inline int32_t pair_at(const int16_t* p) {
  int32_t pair;
  __builtin_memcpy(&pair, p, sizeof pair);
  return pair;
}

// As an instruction: with the intrinsic GCC 12 copies and spills every sum on every turn.
inline void multiply_add(__m512i& sum, __m512i row, __m512i column) {
  __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(row), "v"(column));
}

// Asks for numbers of B that come later: they may be in no cache, and a processor by itself looks
// no further than a page.
inline void fetch(const int16_t* b) {
  constexpr uintptr_t kAhead = 4096;
  _mm_prefetch(reinterpret_cast<const char*>(reinterpret_cast<uintptr_t>(b) + kAhead), _MM_HINT_T0);
}

// Adds `pairs` pairs to the sums: I is that of row I / V and vector I % V. Constant indices instead
// of loops keep the sums in registers.
template <int V, int... I>
inline void add_pairs(int64_t pairs, const int16_t*& a, const int16_t*& b, uintptr_t& next,
                      __m512i* sums, std::integer_sequence<int, I...>) {
  for (int64_t p = 0; p < pairs; ++p) {
    const __m512i first_column = _mm512_load_si512(b);
    const __m512i last_column = _mm512_load_si512(b + 2 * kLanes * (V - 1));
    // One or two rows read no faster than memory by itself is read ahead.
    if constexpr (sizeof...(I) > 2 * V) {
      fetch(b);
      if (V == 2) fetch(b + 2 * kLanes);
      _mm_prefetch(reinterpret_cast<const char*>(next), _MM_HINT_T1);
    }
    (multiply_add(sums[I], _mm512_set1_epi32(pair_at(a + 2 * (I / V))),
                  I % V == 0 ? first_column : last_column),
     ...);
    a += 2 * kRows;
    b += 2 * kLanes * V;
    next += 64;
  }
}

// What to fetch: what is at hand where nothing is.
inline uintptr_t next_of(const int16_t* next, const int16_t* b) {
  return reinterpret_cast<uintptr_t>(next != nullptr ? next : b);
}

template <int V, int... I>
inline void tile_sums(int64_t pairs, const int16_t* a, const int16_t* b, const int32_t* start,
                      int64_t start_stride, int32_t* c, int64_t ldc, __mmask16 last,
                      const int16_t* next, std::integer_sequence<int, I...> each) {
  __m512i sums[sizeof...(I)] = {((void)I, _mm512_setzero_si512())...};
  uintptr_t fetched = next_of(next, b);
  add_pairs<V>(pairs, a, b, fetched, sums, each);
  const __mmask16 all = 0xffff;
  const auto put = [=](int row, int vector, __m512i sum) {
    const __mmask16 mask = vector + 1 == V ? last : all;
    if (start != nullptr) {
      const int32_t* const from = start + row * start_stride + kLanes * vector;
      sum = _mm512_add_epi32(sum, _mm512_maskz_loadu_epi32(mask, from));
    }
    _mm512_mask_storeu_epi32(c + row * ldc + kLanes * vector, mask, sum);
  };
  (put(I / V, I % V, sums[I]), ...);
}

template <int R, int V>
void tile_of(int64_t pairs, const int16_t* a, const int16_t* b, const int32_t* start,
             int64_t start_stride, int32_t* c, int64_t ldc, __mmask16 last, const int16_t* next) {
  tile_sums<V>(pairs, a, b, start, start_stride, c, ldc, last, next,
               std::make_integer_sequence<int, R * V>());
}

using TileOf = void (*)(int64_t, const int16_t*, const int16_t*, const int32_t*, int64_t, int32_t*,
                        int64_t, __mmask16, const int16_t*);

template <int V>
constexpr TileOf kTiles[kRows] = {tile_of<1, V>,  tile_of<2, V>,  tile_of<3, V>,  tile_of<4, V>,
                                  tile_of<5, V>,  tile_of<6, V>,  tile_of<7, V>,  tile_of<8, V>,
                                  tile_of<9, V>,  tile_of<10, V>, tile_of<11, V>, tile_of<12, V>,
                                  tile_of<13, V>, tile_of<14, V>};

void tile(int64_t pairs, const int16_t* a, const int16_t* b, int width, const int32_t* start,
          int64_t start_stride, int32_t* c, int64_t ldc, int rows, int columns,
          const int16_t* next) {
  if (width == kLanes) {
    kTiles<1>[rows - 1](pairs, a, b, start, start_stride, c, ldc, first_lanes(columns), next);
  } else {
    kTiles<2>[rows - 1](pairs, a, b, start, start_stride, c, ldc, first_lanes(columns - kLanes),
                        next);
  }
}

// Between blocks a sum is its low 16 bits in a register and the rest in memory.
constexpr int kLowBits = 16;

struct Jam {
  __m512i sticky, limit, below, one;
  __m128i left, right;

  explicit Jam(int odd)
      : sticky(_mm512_set1_epi32((1 << odd) - 1)),
        limit(_mm512_set1_epi32(static_cast<int>((1u << (15 + odd)) - 1))),
        below(_mm512_set1_epi32(-static_cast<int>((1u << (15 + odd)) - 1) - 1)),
        one(_mm512_set1_epi32(1)),
        left(_mm_cvtsi32_si128(kLowBits - odd)),
        right(_mm_cvtsi32_si128(odd)) {}

  __m512i operator()(__m512i high, __m512i low) const {
    __m512i q = _mm512_or_si512(_mm512_sll_epi32(high, left), _mm512_srl_epi32(low, right));
    q = _mm512_mask_or_epi32(q, _mm512_test_epi32_mask(low, sticky), q, one);
    q = _mm512_mask_mov_epi32(q, _mm512_cmpgt_epi32_mask(high, limit),
                              _mm512_set1_epi32(0x7fffffff));
    return _mm512_mask_mov_epi32(q, _mm512_cmplt_epi32_mask(high, below),
                                 _mm512_set1_epi32(-0x7fffffff - 1));
  }
};

// The low bits of 16 sums; the others go to high.
inline __m512i begin(const int64_t* from, __mmask16 mask, int32_t* high) {
  const __m512i first = _mm512_maskz_loadu_epi64(static_cast<__mmask8>(mask), from);
  const __m512i second = _mm512_maskz_loadu_epi64(static_cast<__mmask8>(mask >> 8), from + 8);
  const __m512i low = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(first)),
                                         _mm512_cvtepi64_epi32(second), 1);
  const __m256i above[2] = {_mm512_cvtepi64_epi32(_mm512_srai_epi64(first, kLowBits)),
                            _mm512_cvtepi64_epi32(_mm512_srai_epi64(second, kLowBits))};
  _mm512_store_si512(high, _mm512_inserti64x4(_mm512_castsi256_si512(above[0]), above[1], 1));
  return _mm512_and_si512(low, _mm512_set1_epi32((1 << kLowBits) - 1));
}

inline __m512i repeat_row(const int32_t* from, __m512i low, int32_t* high) {
  _mm512_store_si512(high, _mm512_load_si512(from));
  return low;
}

inline void carry(__m512i& sum, int32_t* high) {
  const __m512i above = _mm512_srai_epi32(sum, kLowBits);
  _mm512_store_si512(high, _mm512_add_epi32(above, _mm512_load_si512(high)));
  sum = _mm512_and_si512(sum, _mm512_set1_epi32((1 << kLowBits) - 1));
}

template <int V, int... I>
inline void wide_sums(const int32_t* counts, int blocks, const int16_t* a, const int16_t* b,
                      const WideSums& to, __mmask16 last, const int16_t* next,
                      std::integer_sequence<int, I...> each) {
  uintptr_t fetched = next_of(next, b);
  alignas(64) int32_t memory[sizeof...(I)][kLanes];
  int32_t (*high)[kLanes] = memory;
  __asm__("" : "+r"(high));  // stays in memory
  const __mmask16 all = 0xffff;
  __m512i sums[sizeof...(I)] = {((void)I, _mm512_setzero_si512())...};
  if (to.start == nullptr) {
    (_mm512_store_si512(high[I], _mm512_setzero_si512()), ...);
  } else if (to.start_stride == 0) {
    // Every row begins as the first.
    ((sums[I] = I < V ? begin(to.start + kLanes * I, I + 1 == V ? last : all, high[I])
                      : repeat_row(high[I % V], sums[I % V], high[I])),
     ...);
  } else {
    ((sums[I] = begin(to.start + (I / V) * to.start_stride + kLanes * (I % V),
                      I % V + 1 == V ? last : all, high[I])),
     ...);
  }
  for (int block = 0; block < blocks; ++block) {
    add_pairs<V>(counts[block], a, b, fetched, sums, each);
    (carry(sums[I], high[I]), ...);
  }
  if (to.exact != nullptr) {
    const auto put = [&](__m512i low, const int32_t* above, int64_t* c, __mmask16 mask) {
      const __m512i first = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(low));
      const __m512i second = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(low, 1));
      const __m512i up = _mm512_load_si512(above);
      const __m512i first_up = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(up));
      const __m512i second_up = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(up, 1));
      _mm512_mask_storeu_epi64(c, static_cast<__mmask8>(mask),
                               _mm512_or_si512(first, _mm512_slli_epi64(first_up, kLowBits)));
      _mm512_mask_storeu_epi64(c + 8, static_cast<__mmask8>(mask >> 8),
                               _mm512_or_si512(second, _mm512_slli_epi64(second_up, kLowBits)));
    };
    (put(sums[I], high[I], to.exact + (I / V) * to.stride + kLanes * (I % V),
         I % V + 1 == V ? last : all),
     ...);
    return;
  }
  const Jam jam(to.odd);
  (_mm512_mask_storeu_epi32(to.jammed + (I / V) * to.stride + kLanes * (I % V),
                            I % V + 1 == V ? last : all, jam(_mm512_load_si512(high[I]), sums[I])),
   ...);
}

template <int R, int V>
void wide_of(const int32_t* counts, int blocks, const int16_t* a, const int16_t* b,
             const WideSums& to, __mmask16 last, const int16_t* next) {
  wide_sums<V>(counts, blocks, a, b, to, last, next, std::make_integer_sequence<int, R * V>());
}

using WideOf = void (*)(const int32_t*, int, const int16_t*, const int16_t*, const WideSums&,
                        __mmask16, const int16_t*);

template <int V>
constexpr WideOf kWide[kRows] = {wide_of<1, V>,  wide_of<2, V>,  wide_of<3, V>,  wide_of<4, V>,
                                 wide_of<5, V>,  wide_of<6, V>,  wide_of<7, V>,  wide_of<8, V>,
                                 wide_of<9, V>,  wide_of<10, V>, wide_of<11, V>, wide_of<12, V>,
                                 wide_of<13, V>, wide_of<14, V>};

void tile_wide(const int32_t* counts, int blocks, const int16_t* a, const int16_t* b, int width,
               const WideSums& to, int rows, int columns, const int16_t* next) {
  if (width == kLanes) {
    kWide<1>[rows - 1](counts, blocks, a, b, to, first_lanes(columns), next);
  } else {
    kWide<2>[rows - 1](counts, blocks, a, b, to, first_lanes(columns - kLanes), next);
  }
}

void widen(const int32_t* tile, int64_t tile_stride, int64_t* c, int64_t ldc, int64_t rows,
           int64_t columns, int shift, bool accumulate) {
  const __m128i places = _mm_cvtsi32_si128(shift);
  for (int64_t i = 0; i < rows; ++i) {
    const int32_t* from = tile + i * tile_stride;
    int64_t* to = c + i * ldc;
    for (int64_t j = 0; j < columns; j += 8) {
      const __mmask8 mask =
          static_cast<__mmask8>(columns - j >= 8 ? 0xff : (1 << (columns - j)) - 1);
      __m512i value = _mm512_cvtepi32_epi64(_mm256_maskz_loadu_epi32(mask, from + j));
      value = _mm512_sll_epi64(value, places);
      if (accumulate) value = _mm512_add_epi64(value, _mm512_maskz_loadu_epi64(mask, to + j));
      _mm512_mask_storeu_epi64(to + j, mask, value);
    }
  }
}

void norms(const int16_t* panel, int64_t pairs, int64_t block, int width, uint64_t* norms) {
  const __m512i low_half = _mm512_set1_epi64(0xffffffff), zero = _mm512_setzero_si512();
  const __mmask16 first_mask = first_lanes(width);
  const __mmask16 second_mask = width > kLanes ? first_lanes(width - kLanes) : __mmask16{0};
  const auto largest = [](__m512i a, __m512i b, __m512i c, __m512i d) {
    return _mm512_reduce_max_epu64(
        _mm512_max_epu64(_mm512_max_epu64(a, b), _mm512_max_epu64(c, d)));
  };
  // Even and odd lines of either vector.
  __m512i all[4] = {zero, zero, zero, zero};
  for (int64_t first = 0; first < pairs; first += block) {
    const int64_t end = pairs - first < block ? pairs : first + block;
    __m512i sums[4] = {zero, zero, zero, zero};
    const auto add = [&](int v, __mmask16 mask, const int16_t* from) {
      const __m512i x = _mm512_maskz_loadu_epi32(mask, from);
      const __m512i square = _mm512_madd_epi16(x, x);  // at most 2^31: unsigned
      sums[2 * v] = _mm512_add_epi64(sums[2 * v], _mm512_and_si512(square, low_half));
      sums[2 * v + 1] = _mm512_add_epi64(sums[2 * v + 1], _mm512_srli_epi64(square, 32));
    };
    if (second_mask == 0) {
      for (int64_t p = first; p < end; ++p, panel += 2 * width) add(0, first_mask, panel);
    } else {
      for (int64_t p = first; p < end; ++p, panel += 2 * width) {
        add(0, first_mask, panel);
        add(1, second_mask, panel + 2 * kLanes);
      }
    }
    for (int v = 0; v < 4; ++v) all[v] = _mm512_add_epi64(all[v], sums[v]);
    *norms++ = static_cast<uint64_t>(largest(sums[0], sums[1], sums[2], sums[3]));
  }
  *norms = static_cast<uint64_t>(largest(all[0], all[1], all[2], all[3]));
}

void split(const int16_t* panel, int64_t count, int16_t* high, int16_t* low) {
  const __m512i one = _mm512_set1_epi16(1);
  for (int64_t i = 0; i < count; i += 32) {
    const int64_t left = count - i;
    const __mmask32 mask = left >= 32 ? 0xffffffffu : (1u << left) - 1;
    const __m512i x = _mm512_maskz_loadu_epi16(mask, panel + i);
    // (x + 128) >> 8 without leaving 16 bits.
    const __m512i h =
        _mm512_add_epi16(_mm512_srai_epi16(x, 8), _mm512_and_si512(_mm512_srai_epi16(x, 7), one));
    _mm512_mask_storeu_epi16(high + i, mask, h);
    _mm512_mask_storeu_epi16(low + i, mask, _mm512_sub_epi16(x, _mm512_slli_epi16(h, 8)));
  }
}

// Transposes 16 x 16 numbers of 32 bits.
inline void transpose(__m512i r[16]) {
  __m512i t[16];
  GVM_UNROLL
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  GVM_UNROLL
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // r[4 * g + q] holds column q + 4 * lane of rows 4 * g ..; now the 4 x 4 of 128-bit lanes.
  GVM_UNROLL
  for (int q = 0; q < 4; ++q) {
    const __m512i a = _mm512_shuffle_i32x4(r[q], r[q + 4], 0x88);
    const __m512i b = _mm512_shuffle_i32x4(r[q], r[q + 4], 0xdd);
    const __m512i c = _mm512_shuffle_i32x4(r[q + 8], r[q + 12], 0x88);
    const __m512i d = _mm512_shuffle_i32x4(r[q + 8], r[q + 12], 0xdd);
    t[q] = _mm512_shuffle_i32x4(a, c, 0x88);
    t[q + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
    t[q + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
    t[q + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
  }
  GVM_UNROLL
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

void pack_lines(const int16_t* const* lines, int count, int64_t terms, int width, int16_t* panel) {
  const int64_t pairs = (terms + 1) / 2;
  for (int first = 0; first < width; first += kLanes) {
    const __mmask16 lanes = first_lanes(width - first);
    for (int64_t p = 0; p < pairs; p += 16) {
      const int64_t left = terms - 2 * p;
      const __mmask32 mask = left >= 32 ? 0xffffffffu : (1u << left) - 1;
      __m512i r[16];
      GVM_UNROLL
      for (int i = 0; i < 16; ++i) {
        const int16_t* line = first + i < count ? lines[first + i] : nullptr;
        r[i] =
            line != nullptr ? _mm512_maskz_loadu_epi16(mask, line + 2 * p) : _mm512_setzero_si512();
      }
      transpose(r);
      int16_t* to = panel + (p * width + first) * 2;
      if (pairs - p >= 16) {
        GVM_UNROLL
        for (int i = 0; i < 16; ++i) _mm512_mask_storeu_epi32(to + 2 * i * width, lanes, r[i]);
      } else {
        alignas(64) int32_t rest[16][16];
        GVM_UNROLL
        for (int i = 0; i < 16; ++i) _mm512_store_si512(rest[i], r[i]);
        for (int64_t i = 0; i < pairs - p; ++i) {
          _mm512_mask_storeu_epi32(to + 2 * i * width, lanes, _mm512_load_si512(rest[i]));
        }
      }
    }
  }
}

void pack_terms(const int16_t* source, int64_t stride, int count, int64_t terms, int width,
                int16_t* panel) {
  for (int first = 0; first < width; first += kLanes) {
    const __mmask16 lanes = first_lanes(width - first);
    const __mmask16 filled = count <= first ? __mmask16{0} : first_lanes(count - first);
    const int16_t* from = source + first;
    int16_t* to = panel + 2 * first;
    int64_t k = 0;
    for (; k + 1 < terms; k += 2) {
      const __m512i even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(filled, from));
      const __m512i odd = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(filled, from + stride));
      _mm512_mask_storeu_epi32(to, lanes, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
      from += 2 * stride;
      to += 2 * width;
    }
    if (k < terms) {
      const __m512i even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(filled, from));
      _mm512_mask_storeu_epi32(to, lanes, even);
    }
  }
}

template <int P>
void row_of(const int16_t* a, const int16_t* b, int64_t stride, int64_t columns, int32_t* sums,
            bool accumulate) {
  __m512i pairs[P];
  GVM_UNROLL
  for (int p = 0; p < P; ++p) pairs[p] = _mm512_set1_epi32(pair_at(a + 2 * p));
  for (int64_t j = 0; j < columns; j += kLanes) {
    const __mmask16 mask =
        first_lanes(columns - j >= kLanes ? kLanes : static_cast<int>(columns - j));
    __m512i sum = accumulate ? _mm512_maskz_loadu_epi32(mask, sums + j) : _mm512_setzero_si512();
    GVM_UNROLL
    for (int p = 0; p < P; ++p) {
      const int16_t* even = b + 2 * p * stride + j;
      const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, even));
      const __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, even + stride));
      multiply_add(sum, pairs[p], _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
    _mm512_mask_storeu_epi32(sums + j, mask, sum);
  }
}

void row(const int16_t* a, int terms, const int16_t* b, int64_t stride, int64_t columns,
         int32_t* sums, bool accumulate) {
  if (terms == 8) {
    row_of<4>(a, b, stride, columns, sums, accumulate);
    return;
  }
  int k = 0;
  for (; k + 2 <= terms; k += 2) {
    row_of<1>(a + k, b + k * stride, stride, columns, sums, accumulate || k != 0);
  }
  if (k < terms) {
    // The last term with nothing: its own row again, times zero.
    const int16_t pair[2] = {a[k], 0};
    row_of<1>(pair, b + k * stride, 0, columns, sums, accumulate || k != 0);
  }
}

}  // namespace

const GemmKernels kGemmAvx512 = {kRows, kColumns, kLanes,     tile,       tile_wide, widen,
                                 norms, split,    pack_lines, pack_terms, row};

}  // namespace gvm

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
