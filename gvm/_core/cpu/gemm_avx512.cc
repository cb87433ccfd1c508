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

// Sum I is that of row I / V and vector I % V. Constant indices instead of loops keep the sums in
// registers.
template <int V, int... I>
inline void tile_sums(int64_t pairs, const int16_t* a, const int16_t* b, int32_t* c, int64_t ldc,
                      __mmask16 last, bool accumulate, std::integer_sequence<int, I...>) {
  __m512i sums[sizeof...(I)] = {((void)I, _mm512_setzero_si512())...};
  for (int64_t p = 0; p < pairs; ++p) {
    const __m512i first_column = _mm512_load_si512(b);
    const __m512i last_column = _mm512_load_si512(b + 2 * kLanes * (V - 1));
    (multiply_add(sums[I], _mm512_set1_epi32(pair_at(a + 2 * (I / V))),
                  I % V == 0 ? first_column : last_column),
     ...);
    a += 2 * kRows;
    b += 2 * kLanes * V;
  }
  const __mmask16 all = 0xffff;
  const auto put = [=](int32_t* to, __mmask16 mask, __m512i sum) {
    if (accumulate) sum = _mm512_add_epi32(sum, _mm512_maskz_loadu_epi32(mask, to));
    _mm512_mask_storeu_epi32(to, mask, sum);
  };
  (put(c + (I / V) * ldc + kLanes * (I % V), I % V + 1 == V ? last : all, sums[I]), ...);
}

template <int R, int V>
void tile_of(int64_t pairs, const int16_t* a, const int16_t* b, int32_t* c, int64_t ldc,
             __mmask16 last, bool accumulate) {
  tile_sums<V>(pairs, a, b, c, ldc, last, accumulate, std::make_integer_sequence<int, R * V>());
}

using TileOf = void (*)(int64_t, const int16_t*, const int16_t*, int32_t*, int64_t, __mmask16,
                        bool);

template <int V>
constexpr TileOf kTiles[kRows] = {tile_of<1, V>,  tile_of<2, V>,  tile_of<3, V>,  tile_of<4, V>,
                                  tile_of<5, V>,  tile_of<6, V>,  tile_of<7, V>,  tile_of<8, V>,
                                  tile_of<9, V>,  tile_of<10, V>, tile_of<11, V>, tile_of<12, V>,
                                  tile_of<13, V>, tile_of<14, V>};

void tile(int64_t pairs, const int16_t* a, const int16_t* b, int width, int32_t* c, int64_t ldc,
          int rows, int columns, bool accumulate) {
  if (width == kLanes) {
    kTiles<1>[rows - 1](pairs, a, b, c, ldc, first_lanes(columns), accumulate);
  } else {
    kTiles<2>[rows - 1](pairs, a, b, c, ldc, first_lanes(columns - kLanes), accumulate);
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

void squares(const int16_t* panel, int64_t pairs, int width, uint64_t* sums) {
  const __m512i low_half = _mm512_set1_epi64(0xffffffff);
  for (int first = 0; first < width; first += kLanes) {
    const __mmask16 mask = first_lanes(width - first);
    const int16_t* from = panel + 2 * first;
    __m512i even = _mm512_setzero_si512(), odd = even;
    for (int64_t p = 0; p < pairs; ++p) {
      const __m512i x = _mm512_maskz_loadu_epi32(mask, from);
      const __m512i square = _mm512_madd_epi16(x, x);  // at most 2^31: unsigned
      even = _mm512_add_epi64(even, _mm512_and_si512(square, low_half));
      odd = _mm512_add_epi64(odd, _mm512_srli_epi64(square, 32));
      from += 2 * width;
    }
    alignas(64) uint64_t lanes[2][8];
    _mm512_store_si512(lanes[0], even);
    _mm512_store_si512(lanes[1], odd);
    for (int i = 0; i < kLanes && first + i < width; ++i) sums[first + i] += lanes[i & 1][i >> 1];
  }
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

const GemmKernels kGemmAvx512 = {kRows,   kColumns, kLanes,     tile,       widen,
                                 squares, split,    pack_lines, pack_terms, row};

}  // namespace gvm

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
