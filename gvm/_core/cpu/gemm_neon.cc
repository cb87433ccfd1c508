// The tile and packing loops in NEON. A tile is 8 rows by 8 columns: 16 sums, two vectors of B
// (even and odd terms) and two of A fill 20 of the 32 registers, and a product is a widening
// multiply-add by one lane of A, which wraps like any sum.
#include "cpu/kernels.h"

#if GVM_AARCH64

#include <arm_neon.h>

#include <utility>

namespace gvm {

namespace {

constexpr int kRows = 8, kColumns = 8, kLanes = 4;

// The terms of one pair: `columns` are those of 8 columns (or of 4 in the low half).
template <int Lane, int V>
inline void multiply_add(int32x4_t* sums, int16x8_t rows, int16x8_t columns) {
  sums[0] = vmlal_laneq_s16(sums[0], vget_low_s16(columns), rows, Lane);
  if constexpr (V == 2) sums[1] = vmlal_high_laneq_s16(sums[1], columns, rows, Lane);
}

template <int V, int... I>
inline void tile_sums(int64_t pairs, const int16_t* a, const int16_t* b, const int32_t* start,
                      int64_t start_stride, int32_t* c, int64_t ldc, int columns,
                      std::integer_sequence<int, I...>) {
  int32x4_t sums[sizeof...(I)][V] = {};
  for (int64_t p = 0; p < pairs; ++p) {
    const int16x8_t rows[2] = {vld1q_s16(a), vld1q_s16(a + 8)};
    int16x8_t even, odd;
    if constexpr (V == 2) {
      const int16x8x2_t both = vld2q_s16(b);
      even = both.val[0], odd = both.val[1];
    } else {
      const int16x4x2_t both = vld2_s16(b);
      even = vcombine_s16(both.val[0], both.val[0]), odd = vcombine_s16(both.val[1], both.val[1]);
    }
    (multiply_add<I % 4 * 2, V>(sums[I], rows[I / 4], even), ...);
    (multiply_add<I % 4 * 2 + 1, V>(sums[I], rows[I / 4], odd), ...);
    a += 2 * kRows;
    b += 2 * kLanes * V;
  }
  const auto put = [=](int row, int column, int32x4_t sum) {
    const int32_t* from = start != nullptr ? start + row * start_stride + column : nullptr;
    int32_t* to = c + row * ldc + column;
    if (columns - column >= kLanes) {
      vst1q_s32(to, from != nullptr ? vaddq_s32(sum, vld1q_s32(from)) : sum);
      return;
    }
    int32_t lanes[kLanes];
    vst1q_s32(lanes, sum);
    for (int j = 0; j < columns - column; ++j) {
      const uint32_t old = from != nullptr ? static_cast<uint32_t>(from[j]) : 0;
      to[j] = static_cast<int32_t>(static_cast<uint32_t>(lanes[j]) + old);
    }
  };
  (put(I, 0, sums[I][0]), ...);
  if constexpr (V == 2) (put(I, kLanes, sums[I][1]), ...);
}

template <int R, int V>
void tile_of(int64_t pairs, const int16_t* a, const int16_t* b, const int32_t* start,
             int64_t start_stride, int32_t* c, int64_t ldc, int columns) {
  tile_sums<V>(pairs, a, b, start, start_stride, c, ldc, columns,
               std::make_integer_sequence<int, R>());
}

using TileOf = void (*)(int64_t, const int16_t*, const int16_t*, const int32_t*, int64_t, int32_t*,
                        int64_t, int);

template <int V>
constexpr TileOf kTiles[kRows] = {tile_of<1, V>, tile_of<2, V>, tile_of<3, V>, tile_of<4, V>,
                                  tile_of<5, V>, tile_of<6, V>, tile_of<7, V>, tile_of<8, V>};

void tile(int64_t pairs, const int16_t* a, const int16_t* b, int width, const int32_t* start,
          int64_t start_stride, int32_t* c, int64_t ldc, int rows, int columns, const int16_t*) {
  (width == kLanes ? kTiles<1> : kTiles<2>)[rows - 1](pairs, a, b, start, start_stride, c, ldc,
                                                      columns);
}

// See WideSums::jammed.
inline int32_t jam(int64_t sum, int odd) {
  const int64_t low = (int64_t{1} << odd) - 1;
  const int64_t q = ((sum - (sum & low)) / (low + 1)) | ((sum & low) != 0 ? 1 : 0);
  return static_cast<int32_t>(q > INT32_MAX ? INT32_MAX : q < INT32_MIN ? INT32_MIN : q);
}

// Every block as a tile of 32 bits, added up in 64.
void tile_wide(const int32_t* counts, int blocks, const int16_t* a, const int16_t* b, int width,
               const WideSums& to, int rows, int columns, const int16_t*) {
  int64x2_t whole[kRows][kColumns / 2] = {};
  int32_t block[kRows * kColumns];
  for (int n = 0; n < blocks; ++n) {
    tile(counts[n], a, b, width, nullptr, 0, block, kColumns, rows, width);
    for (int i = 0; i < rows; ++i) {
      for (int v = 0; v < width / 2; ++v) {
        whole[i][v] = vaddw_s32(whole[i][v], vld1_s32(block + i * kColumns + 2 * v));
      }
    }
    a += 2 * kRows * int64_t{counts[n]};
    b += 2 * width * int64_t{counts[n]};
  }
  for (int i = 0; i < rows; ++i) {
    int64_t sums[kColumns];
    for (int v = 0; v < kColumns / 2; ++v) vst1q_s64(sums + 2 * v, whole[i][v]);
    for (int j = 0; j < columns; ++j) {
      const int64_t sum =
          sums[j] + (to.start != nullptr ? to.start[i * to.start_stride + j] : int64_t{0});
      if (to.exact != nullptr) {
        to.exact[i * to.stride + j] = sum;
      } else {
        to.jammed[i * to.stride + j] = jam(sum, to.odd);
      }
    }
  }
}

void widen(const int32_t* tile, int64_t tile_stride, int64_t* c, int64_t ldc, int64_t rows,
           int64_t columns, int shift, bool accumulate) {
  kGemmScalar.widen(tile, tile_stride, c, ldc, rows, columns, shift, accumulate);
}

void split(const int16_t* panel, int64_t count, int16_t* high, int16_t* low) {
  kGemmScalar.split(panel, count, high, low);
}

// sums[i] = the sum of squares of line i over `pairs` pairs; widths are 4 and 8.
inline void squares(const int16_t* panel, int64_t pairs, int width, uint64_t* sums) {
  for (int first = 0; first < width; first += kLanes) {
    const int16_t* from = panel + 2 * first;
    uint64x2_t low = vdupq_n_u64(0), high = low;
    for (int64_t p = 0; p < pairs; ++p) {
      const int16x8_t x = vld1q_s16(from);
      // Squares are at most 2^30, so that two of them fit.
      low = vpadalq_u32(low, vreinterpretq_u32_s32(vmull_s16(vget_low_s16(x), vget_low_s16(x))));
      high = vpadalq_u32(high, vreinterpretq_u32_s32(vmull_high_s16(x, x)));
      from += 2 * width;
    }
    vst1q_u64(sums + first, low);
    vst1q_u64(sums + first + 2, high);
  }
}

void norms(const int16_t* panel, int64_t pairs, int64_t block, int width, uint64_t* norms) {
  uint64_t all[kColumns] = {};
  const auto largest = [](const uint64_t* sums) {
    uint64_t most = 0;
    for (int i = 0; i < kColumns; ++i) most = sums[i] > most ? sums[i] : most;
    return most;
  };
  for (int64_t first = 0; first < pairs; first += block) {
    uint64_t sums[kColumns] = {};
    const int64_t count = pairs - first < block ? pairs - first : block;
    squares(panel, count, width, sums);
    for (int i = 0; i < width; ++i) all[i] += sums[i];
    *norms++ = largest(sums);
    panel += 2 * width * count;
  }
  *norms = largest(all);
}

void pack_lines(const int16_t* const* lines, int count, int64_t terms, int width, int16_t* panel) {
  const int64_t whole = terms / 8 * 8;
  for (int first = 0; first < width; first += kLanes) {
    const int16_t* line[kLanes];
    for (int i = 0; i < kLanes; ++i) line[i] = first + i < count ? lines[first + i] : nullptr;
    int16_t* to = panel + 2 * first;
    for (int64_t k = 0; k < whole; k += 8) {
      int32x4_t r[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        r[i] = line[i] != nullptr ? vreinterpretq_s32_s16(vld1q_s16(line[i] + k)) : vdupq_n_s32(0);
      }
      const int32x4_t a = vzip1q_s32(r[0], r[2]), b = vzip1q_s32(r[1], r[3]);
      const int32x4_t c = vzip2q_s32(r[0], r[2]), d = vzip2q_s32(r[1], r[3]);
      const int32x4_t turned[] = {vzip1q_s32(a, b), vzip2q_s32(a, b), vzip1q_s32(c, d),
                                  vzip2q_s32(c, d)};
      for (const int32x4_t pairs : turned) {
        vst1q_s16(to, vreinterpretq_s16_s32(pairs));
        to += 2 * width;
      }
    }
    for (int64_t k = whole; k < terms; k += 2) {
      for (int i = 0; i < kLanes; ++i) {
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
    const int filled = count - first < kLanes ? count - first : kLanes;
    const int16_t* from = source + first;
    int16_t* to = panel + 2 * first;
    for (int64_t k = 0; k < terms; k += 2) {
      if (filled == kLanes && k + 1 < terms) {
        vst2_s16(to, int16x4x2_t{{vld1_s16(from), vld1_s16(from + stride)}});
      } else {
        for (int i = 0; i < kLanes; ++i) {
          to[2 * i] = i < filled ? from[i] : int16_t{0};
          to[2 * i + 1] = i < filled && k + 1 < terms ? from[stride + i] : int16_t{0};
        }
      }
      from += 2 * stride;
      to += 2 * width;
    }
  }
}

void row(const int16_t* a, int terms, const int16_t* b, int64_t stride, int64_t columns,
         int32_t* sums, bool accumulate) {
  const int64_t whole = columns / 8 * 8;
  for (int64_t j = 0; j < whole; j += 8) {
    int32x4_t low = accumulate ? vld1q_s32(sums + j) : vdupq_n_s32(0);
    int32x4_t high = accumulate ? vld1q_s32(sums + j + 4) : vdupq_n_s32(0);
    for (int k = 0; k < terms; ++k) {
      const int16x8_t x = vld1q_s16(b + k * stride + j);
      low = vmlal_n_s16(low, vget_low_s16(x), a[k]);
      high = vmlal_high_n_s16(high, x, a[k]);
    }
    vst1q_s32(sums + j, low);
    vst1q_s32(sums + j + 4, high);
  }
  if (whole < columns) {
    kGemmScalar.row(a, terms, b + whole, stride, columns - whole, sums + whole, accumulate);
  }
}

}  // namespace

const GemmKernels kGemmNeon = {kRows, kColumns, kLanes,     tile,       tile_wide, widen,
                               norms, split,    pack_lines, pack_terms, row};

}  // namespace gvm

#endif
