// The loops that are written once per instruction set. Every table computes the same integers; the
// engine (cpu/gemm.h) and the convert drivers on top of it know no instruction set.
#pragma once

#include <cstdint>

#include "random.h"

// AVX2 and AVX-512 exist on 64-bit x86 only, and every little-endian 64-bit ARM has NEON.
#if defined(__x86_64__)
#define GVM_X86_64 1
#else
#define GVM_X86_64 0
#endif
#if defined(__aarch64__) && defined(__AARCH64EL__)
#define GVM_AARCH64 1
#else
#define GVM_AARCH64 0
#endif

namespace gvm {

// Numbers count up on each architecture.
enum class CpuLevel { scalar = 0, avx2 = 1, avx512 = 2, neon = 1 };

// Where the sums S of a tile begin and go. |S| < 2^47.
struct WideSums {
  const int64_t* start = nullptr;  // S begins at start[i * start_stride + j]; null: at 0
  int64_t start_stride = 0;
  int64_t* exact = nullptr;  // takes S, unless null; may be start
  // Takes S shifted right by `odd` <= 16 bits to an odd number where that is not exact, then
  // clamped. Convert to 16 bits makes the same of it and odd bits less to discard, where it
  // discards 2 more to nearest, or where odd = 0 and it discards at most 15.
  int32_t* jammed = nullptr;
  int odd = 0;
  int64_t stride = 0;  // of a row of either
};

// A panel holds `width` lines (rows of A or columns of B) as pairs of consecutive terms: term k of
// line i is panel[(k / 2 * width + i) * 2 + k % 2]. Missing lines and an odd last term are zero.
struct GemmKernels {
  int rows, columns;  // of the register tile; a panel of A is `rows` wide
  int half_columns;   // a panel of B is `columns` wide, or this where fewer columns are left

  // c[i * ldc + j] = start[i * start_stride + j] (null: 0) + the sum of a_i * b_j over `pairs`
  // pairs, modulo 2^32, for i < rows and j < columns. `width` is that of b's panel. start may be c.
  // `next` is what may be fetched meanwhile: 64 bytes for every pair, not all of them memory.
  void (*tile)(int64_t pairs, const int16_t* a, const int16_t* b, int width, const int32_t* start,
               int64_t start_stride, int32_t* c, int64_t ldc, int rows, int columns,
               const int16_t* next);

  // The same without a modulus: consecutive blocks of counts[0], counts[1], ... pairs, whose sums
  // are below 2^31 - 2^16 in size each.
  void (*tile_wide)(const int32_t* counts, int blocks, const int16_t* a, const int16_t* b,
                    int width, const WideSums& to, int rows, int columns, const int16_t* next);

  // c[i * ldc + j] = tile[i * tile_stride + j] * 2^shift, added to c where `accumulate`.
  void (*widen)(const int32_t* tile, int64_t tile_stride, int64_t* c, int64_t ldc, int64_t rows,
                int64_t columns, int shift, bool accumulate);

  // norms[b] = the largest sum of squares of a line over block b of `block` pairs; behind the last
  // block, that over all pairs.
  void (*norms)(const int16_t* panel, int64_t pairs, int64_t block, int width, uint64_t* norms);

  // x = 256 * high + low with high in [-128, 128] and low in [-128, 127], for `count` numbers.
  void (*split)(const int16_t* panel, int64_t count, int16_t* high, int16_t* low);

  // Packs `count` <= width lines of `terms` consecutive numbers each. A null line is zero.
  void (*pack_lines)(const int16_t* const* lines, int count, int64_t terms, int width,
                     int16_t* panel);

  // Packs lines that lie beside each other: term k of line i is at source[k * stride + i].
  void (*pack_terms)(const int16_t* source, int64_t stride, int count, int64_t terms, int width,
                     int16_t* panel);

  // sums[j] = the sum over k < terms <= 8 of a[k] * b[k * stride + j], modulo 2^32, for
  // j < columns; added to sums where `accumulate`. Nothing is packed.
  void (*row)(const int16_t* a, int terms, const int16_t* b, int64_t stride, int64_t columns,
              int32_t* sums, bool accumulate);
};

// A rounding site (numerics section 2): `shift` bits are discarded (gained where negative).
struct ConvertSite {
  int shift = 0;
  Rounding rounding = Rounding::nearest;
  uint64_t seed = 0, step = 0;
  uint32_t site = 0;
  bool relu = false;  // max(q, 0) afterwards; clamps are counted before it
};

// Converts n integers and returns how many were clamped. Element i draws the random bits of logical
// index `index + i`. dst may be src where both have the same type.
using ConvertRun = int64_t (*)(const void* src, int64_t n, const ConvertSite& site, uint64_t index,
                               void* dst);

struct ConvertKernels {
  ConvertRun run[3][2];  // by source (i16, i32, i64) and destination (i16, i32)

  // The words of Philox blocks [first, first + count): 4 * count words, in order.
  void (*random_blocks)(uint64_t seed, uint32_t site, uint64_t step, Purpose purpose,
                        uint64_t first, int64_t count, uint32_t* words);
};

// The divisor count * 2^shift, 1 <= count < 2^30 and 0 <= shift <= 62.
struct Divisor {
  uint32_t count;
  int shift;
};

struct QuotientKernels {
  // values[i] = quotient(values[i], divisor) of numerics section 2, not clamped; |values[i]| <=
  // 2^62. r[i] has 32 bits; for nearest it is unused, and a tie makes base[i] + values[i] even.
  void (*run)(int64_t* values, int64_t n, Divisor divisor, Rounding rounding, const uint32_t* r,
              const int64_t* base);
};

// Numerators keep * v - (g * rate) * 2^up of an update. `*_room`: the bits that g and v may have
// for both parts to stay within 2^61; below zero: none.
struct UpdateTerms {
  int64_t rate, keep;
  int up, gradient_room, velocity_room;
};

// The velocity floor or ceiling of numerator / divisor as two products: in units of 2^-32 it is
// v * kept * 2 - g * (high * 2^31 + low) / 2^(31 + right), the second part less than 3 too small.
struct VelocityTerms {
  UpdateTerms exact;  // its rooms bound what follows too: g has 31 bits, and either part 61
  Divisor divisor;
  Rounding rounding;
  int32_t kept, high, low;
  int right;
};

struct UpdateKernels {
  // exact[i] = the numerator of element i; false where g or v leaves its room: exact is then
  // undefined. v has `bytes` = 2 or 4 per element; 0: there is none.
  bool (*numerators)(const UpdateTerms& terms, const int64_t* g, const void* v, int bytes,
                     int64_t n, int64_t* exact);

  // sums[i] += x[i] * 2^shift; x has `bytes` = 2 or 4 per element.
  void (*add_shifted)(const void* x, int bytes, int shift, int64_t n, int64_t* sums);

  // Clamps sums[i] to the integers of `bytes` = 2 or 4, in place and in out; returns how many
  // changed.
  int64_t (*clamp)(int64_t* sums, int64_t n, void* out, int bytes);

  // sums[i] = w[i] * 2^shift + v[i], shift <= 15.
  void (*narrow_sums)(const int16_t* w, int shift, const int16_t* v, int64_t n, int32_t* sums);

  // out[i] = the quotient of numerator i, clamped, of `bytes` = 2 or 4 as v; returns how many were
  // clamped, or -1 where g or v leaves its room: out is then undefined. Null: not in this set.
  int64_t (*velocities)(const VelocityTerms& terms, const int64_t* g, const void* v, int bytes,
                        int64_t n, const uint32_t* r, void* out);
};

// Exact functions of two rows of n numbers; a step is 0 where one number stands for all, else 1.
struct RowKernels {
  // a * 2^shift_a + b * 2^shift_b, or minus where negative; shifts are at most 14.
  void (*sum)(const int16_t* a, int64_t step_a, int shift_a, const int16_t* b, int64_t step_b,
              int shift_b, bool negative, int64_t n, int32_t* out);
  void (*product)(const int16_t* a, int64_t step_a, const int16_t* b, int64_t step_b, int64_t n,
                  int32_t* out);
  // sums[i] += x[i]
  void (*add)(const int64_t* x, int64_t n, int64_t* sums);

  // out[i] = floor((slope[i] * x[i] + intercept[i]) / 2^shift[i]), shifts in [0, 29]; plus
  // slope_2[i] * x_2[i] before the shift where x_2 is not null. Sums are within 2^62.
  void (*line)(const int16_t* x, const int32_t* slope, const int16_t* x_2, const int32_t* slope_2,
               const int64_t* intercept, const int64_t* shift, int64_t n, int64_t* out);
};

// What checks claimed numbers (cpu/form.h), n <= 1024 of them; range: the smallest and the largest,
// and 0.
struct WeighKernels {
  // sums[h] = the sum of c[i] * weights[h][i]; weights are below 2^21 and not negative.
  void (*run)(const int32_t* c, const int32_t* const weights[4], int64_t n, int64_t sums[4],
              int64_t range[2]);
  // c[i] = lower[i] + upper[i] * 2^32, |c[i]| < 2^62; what is beyond has no meaning.
  void (*split)(const int64_t* c, int64_t n, int32_t* lower, int32_t* upper, int64_t range[2]);
};

extern const GemmKernels kGemmScalar, kGemmAvx2, kGemmAvx512, kGemmNeon;
extern const ConvertKernels kConvertScalar, kConvertAvx2, kConvertAvx512;
extern const QuotientKernels kQuotientScalar, kQuotientAvx2, kQuotientAvx512;
extern const UpdateKernels kUpdateScalar, kUpdateAvx2, kUpdateAvx512;
extern const RowKernels kRowsScalar, kRowsAvx2, kRowsAvx512;
extern const WeighKernels kWeighScalar, kWeighAvx2, kWeighAvx512;

struct CpuKernels {
  CpuLevel level;
  const GemmKernels& gemm;
  const ConvertKernels& convert;
  const QuotientKernels& quotient;
  const UpdateKernels& update;
  const RowKernels& rows;
  const WeighKernels& weigh;
};

}  // namespace gvm
