// The tile and packing loops in AVX2. A tile is 6 rows by two vectors of 8 columns: 12 sums, two
// vectors of B, a broadcast of A and a product fill the 16 registers.
#include "cpu/kernels.h"

#if GVM_X86_64

#include <immintrin.h>

#include <utility>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#define GVM_UNROLL _Pragma("clang loop unroll(full)")
#else
#pragma GCC target("avx2")
#define GVM_UNROLL _Pragma("GCC unroll 32")
#endif

namespace gvm {

namespace {

constexpr int kRows = 6, kColumns = 16, kLanes = 8;

inline __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline __m128i load128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline void store(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

inline int32_t pair_at(const int16_t* p) {
  int32_t pair;
  __builtin_memcpy(&pair, p, sizeof pair);
  return pair;
}

// sum += row * column. The sum as an instruction: otherwise GCC 12 copies and spills every sum on
// every turn.
inline void multiply_add(__m256i& sum, __m256i row, __m256i column) {
  __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(_mm256_madd_epi16(row, column)));
}

// Adds `pairs` pairs to the sums: I is that of row I / V and vector I % V. Constant indices instead
// of loops keep the sums in registers.
template <int V, int... I>
inline void add_pairs(int64_t pairs, const int16_t*& a, const int16_t*& b, __m256i* sums,
                      std::integer_sequence<int, I...>) {
  for (int64_t p = 0; p < pairs; ++p) {
    const __m256i first_column = load(b);
    const __m256i last_column = load(b + 2 * kLanes * (V - 1));
    (multiply_add(sums[I], _mm256_set1_epi32(pair_at(a + 2 * (I / V))),
                  I % V == 0 ? first_column : last_column),
     ...);
    a += 2 * kRows;
    b += 2 * kLanes * V;
  }
}

// The first `left` of a vector's numbers; where it is the last of a row, no more are there.
inline __m256i load_some(const int32_t* from, int left) {
  if (left >= kLanes) return load(from);
  int32_t lanes[kLanes] = {};
  for (int j = 0; j < left; ++j) lanes[j] = from[j];
  return load(lanes);
}
inline void store_some(int32_t* to, int left, __m256i v) {
  if (left >= kLanes) {
    store(to, v);
    return;
  }
  int32_t lanes[kLanes];
  store(lanes, v);
  for (int j = 0; j < left; ++j) to[j] = lanes[j];
}

template <int V, int... I>
inline void tile_sums(int64_t pairs, const int16_t* a, const int16_t* b, const int32_t* start,
                      int64_t start_stride, int32_t* c, int64_t ldc, int columns,
                      std::integer_sequence<int, I...> each) {
  __m256i sums[sizeof...(I)] = {((void)I, _mm256_setzero_si256())...};
  add_pairs<V>(pairs, a, b, sums, each);
  const auto put = [=](int row, int first, __m256i sum) {
    if (start != nullptr) {
      const int32_t* const from = start + row * start_stride + first;
      sum = _mm256_add_epi32(sum, load_some(from, columns - first));
    }
    store_some(c + row * ldc + first, columns - first, sum);
  };
  (put(I / V, kLanes * (I % V), sums[I]), ...);
}

template <int R, int V>
void tile_of(int64_t pairs, const int16_t* a, const int16_t* b, const int32_t* start,
             int64_t start_stride, int32_t* c, int64_t ldc, int columns) {
  tile_sums<V>(pairs, a, b, start, start_stride, c, ldc, columns,
               std::make_integer_sequence<int, R * V>());
}

using TileOf = void (*)(int64_t, const int16_t*, const int16_t*, const int32_t*, int64_t, int32_t*,
                        int64_t, int);

template <int V>
constexpr TileOf kTiles[kRows] = {tile_of<1, V>, tile_of<2, V>, tile_of<3, V>,
                                  tile_of<4, V>, tile_of<5, V>, tile_of<6, V>};

void tile(int64_t pairs, const int16_t* a, const int16_t* b, int width, const int32_t* start,
          int64_t start_stride, int32_t* c, int64_t ldc, int rows, int columns, const int16_t*) {
  (width == kLanes ? kTiles<1> : kTiles<2>)[rows - 1](pairs, a, b, start, start_stride, c, ldc,
                                                      columns);
}

// Between blocks a sum is its low 16 bits in a register and the rest in memory.
constexpr int kLowBits = 16;

inline __m256i blend(__m256i a, __m256i b, __m256i choose_b) {
  return _mm256_blendv_epi8(a, b, choose_b);
}

// See WideSums::jammed.
inline __m256i jam(__m256i high, __m256i low, int odd) {
  const int32_t limit = static_cast<int32_t>((1u << (15 + odd)) - 1);
  const __m256i most = _mm256_set1_epi32(limit), least = _mm256_set1_epi32(-limit - 1);
  const __m256i dropped = _mm256_and_si256(low, _mm256_set1_epi32((1 << odd) - 1));
  const __m256i exact = _mm256_cmpeq_epi32(dropped, _mm256_setzero_si256());
  __m256i q = _mm256_or_si256(_mm256_sll_epi32(high, _mm_cvtsi32_si128(kLowBits - odd)),
                              _mm256_srl_epi32(low, _mm_cvtsi32_si128(odd)));
  q = _mm256_or_si256(q, _mm256_andnot_si256(exact, _mm256_set1_epi32(1)));
  q = blend(q, _mm256_set1_epi32(0x7fffffff), _mm256_cmpgt_epi32(high, most));
  return blend(q, _mm256_set1_epi32(-0x7fffffff - 1), _mm256_cmpgt_epi32(least, high));
}

// The low bits of 8 sums; the others go to high.
inline __m256i begin(const int64_t* from, int left, int32_t* high) {
  int32_t low[kLanes] = {}, above[kLanes] = {};
  for (int j = 0; j < kLanes && j < left; ++j) {
    low[j] = static_cast<int32_t>(from[j] & ((1 << kLowBits) - 1));
    above[j] = static_cast<int32_t>((from[j] - low[j]) / (1 << kLowBits));
  }
  store(high, load(above));
  return load(low);
}

inline void carry(__m256i& sum, int32_t* high) {
  store(high, _mm256_add_epi32(_mm256_srai_epi32(sum, kLowBits), load(high)));
  sum = _mm256_and_si256(sum, _mm256_set1_epi32((1 << kLowBits) - 1));
}

// Four sums of 64 bits.
inline __m256i exact_sums(__m128i high, __m128i low) {
  return _mm256_or_si256(_mm256_slli_epi64(_mm256_cvtepi32_epi64(high), kLowBits),
                         _mm256_cvtepi32_epi64(low));
}

template <int V, int... I>
inline void wide_sums(const int32_t* counts, int blocks, const int16_t* a, const int16_t* b,
                      const WideSums& to, int columns, std::integer_sequence<int, I...> each) {
  alignas(32) int32_t memory[sizeof...(I)][kLanes];
  int32_t (*high)[kLanes] = memory;
  __asm__("" : "+r"(high));  // stays in memory
  __m256i sums[sizeof...(I)] = {((void)I, _mm256_setzero_si256())...};
  if (to.start == nullptr) {
    (store(high[I], _mm256_setzero_si256()), ...);
  } else {
    ((sums[I] = begin(to.start + (I / V) * to.start_stride + kLanes * (I % V),
                      columns - kLanes * (I % V), high[I])),
     ...);
  }
  for (int block = 0; block < blocks; ++block) {
    add_pairs<V>(counts[block], a, b, sums, each);
    (carry(sums[I], high[I]), ...);
  }
  const auto put = [&](int row, int first, __m256i low, const int32_t* above) {
    const int left = columns - first;
    const int64_t at = row * to.stride + first;
    const __m256i up = load(above);
    if (to.exact == nullptr) {
      store_some(to.jammed + at, left, jam(up, low, to.odd));
      return;
    }
    int64_t sum[kLanes];
    int64_t* const whole = left >= kLanes ? to.exact + at : sum;
    store(whole, exact_sums(_mm256_castsi256_si128(up), _mm256_castsi256_si128(low)));
    store(whole + 4, exact_sums(_mm256_extracti128_si256(up, 1), _mm256_extracti128_si256(low, 1)));
    for (int j = 0; whole == sum && j < left; ++j) to.exact[at + j] = sum[j];
  };
  (put(I / V, kLanes * (I % V), sums[I], high[I]), ...);
}

template <int R, int V>
void wide_of(const int32_t* counts, int blocks, const int16_t* a, const int16_t* b,
             const WideSums& to, int columns) {
  wide_sums<V>(counts, blocks, a, b, to, columns, std::make_integer_sequence<int, R * V>());
}

using WideOf = void (*)(const int32_t*, int, const int16_t*, const int16_t*, const WideSums&, int);

template <int V>
constexpr WideOf kWide[kRows] = {wide_of<1, V>, wide_of<2, V>, wide_of<3, V>,
                                 wide_of<4, V>, wide_of<5, V>, wide_of<6, V>};

void tile_wide(const int32_t* counts, int blocks, const int16_t* a, const int16_t* b, int width,
               const WideSums& to, int rows, int columns, const int16_t*) {
  (width == kLanes ? kWide<1> : kWide<2>)[rows - 1](counts, blocks, a, b, to, columns);
}

void widen(const int32_t* tile, int64_t tile_stride, int64_t* c, int64_t ldc, int64_t rows,
           int64_t columns, int shift, bool accumulate) {
  const __m128i places = _mm_cvtsi32_si128(shift);
  for (int64_t i = 0; i < rows; ++i) {
    const int32_t* from = tile + i * tile_stride;
    int64_t* to = c + i * ldc;
    int64_t j = 0;
    for (; j + 4 <= columns; j += 4) {
      const __m128i narrow = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + j));
      __m256i value = _mm256_sll_epi64(_mm256_cvtepi32_epi64(narrow), places);
      if (accumulate) value = _mm256_add_epi64(value, load(to + j));
      store(to + j, value);
    }
    for (; j < columns; ++j) {
      const int64_t value = int64_t{from[j]} * (int64_t{1} << shift);
      to[j] = accumulate ? to[j] + value : value;
    }
  }
}

void norms(const int16_t* panel, int64_t pairs, int64_t block, int width, uint64_t* norms) {
  constexpr int kSums = 4 * 2 * 2;
  const __m256i low_half = _mm256_set1_epi64x(0xffffffff), zero = _mm256_setzero_si256();
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i first_mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(width), index);
  const __m256i second_mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(width - kLanes), index);
  const auto largest = [](const __m256i* sums) {
    uint64_t lanes[kSums], most = 0;
    for (int v = 0; v < 4; ++v) store(lanes + 4 * v, sums[v]);
    for (int i = 0; i < kSums; ++i) most = lanes[i] > most ? lanes[i] : most;
    return most;
  };
  // Even and odd lines of either vector.
  __m256i all[4] = {zero, zero, zero, zero};
  for (int64_t first = 0; first < pairs; first += block) {
    const int64_t end = pairs - first < block ? pairs : first + block;
    __m256i sums[4] = {zero, zero, zero, zero};
    const auto add = [&](int v, __m256i mask, const int16_t* from) {
      const __m256i x = _mm256_maskload_epi32(reinterpret_cast<const int*>(from), mask);
      const __m256i square = _mm256_madd_epi16(x, x);  // at most 2^31: unsigned
      sums[2 * v] = _mm256_add_epi64(sums[2 * v], _mm256_and_si256(square, low_half));
      sums[2 * v + 1] = _mm256_add_epi64(sums[2 * v + 1], _mm256_srli_epi64(square, 32));
    };
    for (int64_t p = first; p < end; ++p, panel += 2 * width) {
      add(0, first_mask, panel);
      if (width > kLanes) add(1, second_mask, panel + 2 * kLanes);
    }
    for (int v = 0; v < 4; ++v) all[v] = _mm256_add_epi64(all[v], sums[v]);
    *norms++ = largest(sums);
  }
  *norms = largest(all);
}

void split(const int16_t* panel, int64_t count, int16_t* high, int16_t* low) {
  const __m256i one = _mm256_set1_epi16(1);
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m256i x = load(panel + i);
    // (x + 128) >> 8 without leaving 16 bits.
    const __m256i h =
        _mm256_add_epi16(_mm256_srai_epi16(x, 8), _mm256_and_si256(_mm256_srai_epi16(x, 7), one));
    store(high + i, h);
    store(low + i, _mm256_sub_epi16(x, _mm256_slli_epi16(h, 8)));
  }
  if (i < count) kGemmScalar.split(panel + i, count - i, high + i, low + i);
}

// Transposes 8 x 8 numbers of 32 bits.
inline void transpose(__m256i r[8]) {
  __m256i t[8];
  GVM_UNROLL
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  GVM_UNROLL
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  GVM_UNROLL
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
  }
  GVM_UNROLL
  for (int i = 0; i < 8; ++i) r[i] = t[i];
}

// Stores the first `lanes` (6 or 8) numbers.
inline void store_lanes(int16_t* to, __m256i v, int lanes) {
  if (lanes == kLanes) {
    store(to, v);
  } else {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(v));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to + 8), _mm256_extracti128_si256(v, 1));
  }
}

void pack_lines(const int16_t* const* lines, int count, int64_t terms, int width, int16_t* panel) {
  const int64_t whole = terms / 16 * 16;
  for (int first = 0; first < width; first += kLanes) {
    const int lanes = width - first < kLanes ? width - first : kLanes;
    const int16_t* line[kLanes];
    for (int i = 0; i < kLanes; ++i) line[i] = first + i < count ? lines[first + i] : nullptr;
    int16_t* to = panel + 2 * first;
    for (int64_t k = 0; k < whole; k += 16) {
      __m256i r[8];
      GVM_UNROLL
      for (int i = 0; i < 8; ++i) {
        r[i] = line[i] != nullptr ? load(line[i] + k) : _mm256_setzero_si256();
      }
      transpose(r);
      for (int i = 0; i < 8; ++i) {
        store_lanes(to, r[i], lanes);
        to += 2 * width;
      }
    }
    for (int64_t k = whole; k < terms; k += 2) {
      for (int i = 0; i < lanes; ++i) {
        to[2 * i] = line[i] != nullptr ? line[i][k] : int16_t{0};
        to[2 * i + 1] = line[i] != nullptr && k + 1 < terms ? line[i][k + 1] : int16_t{0};
      }
      to += 2 * width;
    }
  }
}

void pack_terms(const int16_t* source, int64_t stride, int count, int64_t terms, int width,
                int16_t* panel) {
  for (int first = 0; first < width; first += kLanes) {
    const int lanes = width - first < kLanes ? width - first : kLanes;
    const int filled = count - first < lanes ? count - first : lanes;
    const int16_t* from = source + first;
    int16_t* to = panel + 2 * first;
    for (int64_t k = 0; k < terms; k += 2) {
      if (filled == kLanes && k + 1 < terms) {
        const __m128i even = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
        const __m128i odd = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + stride));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_unpacklo_epi16(even, odd));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 8), _mm_unpackhi_epi16(even, odd));
      } else {
        for (int i = 0; i < lanes; ++i) {
          to[2 * i] = i < filled ? from[i] : int16_t{0};
          to[2 * i + 1] = i < filled && k + 1 < terms ? from[stride + i] : int16_t{0};
        }
      }
      from += 2 * stride;
      to += 2 * width;
    }
  }
}

template <int P>
void row_of(const int16_t* a, const int16_t* b, int64_t stride, int64_t columns, int32_t* sums,
            bool accumulate) {
  __m256i pairs[P];
  GVM_UNROLL
  for (int p = 0; p < P; ++p) pairs[p] = _mm256_set1_epi32(pair_at(a + 2 * p));
  for (int64_t j = 0; j < columns; j += kLanes) {
    __m256i sum = accumulate ? load(sums + j) : _mm256_setzero_si256();
    GVM_UNROLL
    for (int p = 0; p < P; ++p) {
      const int16_t* even = b + 2 * p * stride + j;
      const __m256i low = _mm256_cvtepu16_epi32(load128(even));
      const __m256i high = _mm256_cvtepu16_epi32(load128(even + stride));
      multiply_add(sum, pairs[p], _mm256_or_si256(low, _mm256_slli_epi32(high, 16)));
    }
    store(sums + j, sum);
  }
}

void row(const int16_t* a, int terms, const int16_t* b, int64_t stride, int64_t columns,
         int32_t* sums, bool accumulate) {
  const int64_t whole = columns / kLanes * kLanes;
  if (terms == 8) {
    row_of<4>(a, b, stride, whole, sums, accumulate);
  } else {
    int k = 0;
    for (; k + 2 <= terms; k += 2) {
      row_of<1>(a + k, b + k * stride, stride, whole, sums, accumulate || k != 0);
    }
    if (k < terms) {
      // The last term with nothing: its own row again, times zero.
      const int16_t pair[2] = {a[k], 0};
      row_of<1>(pair, b + k * stride, 0, whole, sums, accumulate || k != 0);
    }
  }
  if (whole < columns) {
    kGemmScalar.row(a, terms, b + whole, stride, columns - whole, sums + whole, accumulate);
  }
}

}  // namespace

const GemmKernels kGemmAvx2 = {kRows, kColumns, kLanes,     tile,       tile_wide, widen,
                               norms, split,    pack_lines, pack_terms, row};

}  // namespace gvm

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
