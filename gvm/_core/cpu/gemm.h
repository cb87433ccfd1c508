// C = A * B for int16 matrices, exact for every input, with bias, Convert and ReLU fused behind it.
//
// Terms are summed modulo 2^32 and proved not to have wrapped: by Cauchy-Schwarz the size of a sum
// is at most |a| * |b|, and the sums of squares of all rows and columns are taken while packing.
// Where the proof fails for all terms, parts of them are summed in 64 bits; where it fails for 32
// terms, a is split into bytes, whose sums cannot wrap. The choice never changes a result.
#pragma once

#include <cstdint>

#include "cpu/kernel.h"

namespace gvm {

// The rows of A or the columns of B, each a line of k terms, as something that can be packed.
struct LineSource {
  // Packs terms [term, term + terms) of lines [line, line + lines) into panels of `width` lines,
  // `panel_stride` numbers apart. Called by several threads at once.
  void (*pack)(const void* context, const GemmKernels& kernels, int64_t line, int64_t lines,
               int64_t term, int64_t terms, int width, int16_t* panels, int64_t panel_stride);
  const void* context;
};

// Term k of line i is at data[i * line_stride + k * term_stride]; one of the strides is 1.
struct StridedLines {
  const int16_t* data;
  int64_t line_stride, term_stride;
};
LineSource strided_lines(const StridedLines& lines);       // keeps a pointer to `lines`
const StridedLines* as_strided(const LineSource& source);  // null if it is another

// The best route that may be taken; for tests and benchmarks. Every one is exact for every input.
enum class GemmRoute {
  automatic,  // 32-bit sums over all terms where proved
  wide,       // 64-bit sums of proved 32-bit ones
  split,      // bytes
};

// The element of the destination at which row i starts: rows stand in lines of `count`, lines in
// images of `lines`, as pixels do. By default there is one line.
struct RowMap {
  int64_t first = 0, step = 0;
  int64_t count = int64_t{1} << 62, line_step = 0;
  int64_t lines = 1, image_step = 0;

  int64_t operator()(int64_t i) const {
    if (i < count) return first + i * step;
    const int64_t line = i / count;
    return first + i % count * step + line % lines * line_step + line / lines * image_step;
  }
};

// What happens to the sums, and where they go. Sum (i, j) is element rows(i) + j of the local
// tensor `data`.
struct Epilogue {
  DType type = DType::i64;  // of data: i64 (the exact sum), i32 or i16 (converted)
  void* data = nullptr;
  RowMap rows;
  bool accumulate = false;     // i64 only: adds to what data holds
  Sink* sink = nullptr;        // i64 only: takes the sums instead of data
  const void* bias = nullptr;  // one per column, of bias_type i16 or i32, times 2^bias_shift
  DType bias_type = DType::i32;
  int bias_shift = 0;
  ConvertSite convert;            // i32 and i16 only
  IndexMap index = {1, 1, 0};     // from the element to the logical index, for stochastic rounding
  RouteCounts* routes = nullptr;  // added to
  int64_t* clamps = nullptr;      // the number of clamped elements is added; i32 and i16 only
};

// m, n, k >= 0; k <= 2^31 and the bias such that the exact sums stay within 2^62 (numerics section
// 4). Uses slots 0 to 2 of the scratch memory.
struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  LineSource a = {}, b = {};
  Epilogue epilogue;
  GemmRoute route = GemmRoute::automatic;
  // Where b's panels stay between calls; piece `first_kept` and those behind it.
  Kept* kept = nullptr;
  int64_t first_kept = 0;

  int64_t kept_pieces() const;  // that it takes
};

void gemm(const Gemm& job, const CpuKernels& cpu, Threads& threads, Scratch& scratch);

// gemm() for few rows whose columns lie beside each other: b is read once, in order, and nothing is
// packed. Returns false where the job is not of that kind.
bool gemm_few_rows(const Gemm& job, const CpuKernels& cpu, Threads& threads, Scratch& scratch);

// The bias of a column, aligned to the sums.
int64_t bias_at(const Epilogue& to, int64_t column);

// Stores or converts n sums of `type` with their bias. An i64 destination takes i64 sums only.
int64_t put_sums(const Epilogue& to, const CpuKernels& cpu, const void* sums, DType type, int64_t n,
                 int64_t element);

// The epilogue for n exact sums of one row, columns [column, column + n), the first of which is
// element `element`: adds the bias to them in place, converts or stores. Returns the clamps.
int64_t emit_sums(const Epilogue& to, const CpuKernels& cpu, int64_t* sums, int64_t n,
                  int64_t column, int64_t element);

// Converts elements [first, first + n) of a local tensor in memory order, following the index map,
// and returns the number of clamps. src and dst point at element `first`.
int64_t convert_elements(ConvertRun run, const void* src, int64_t src_bytes, void* dst,
                         int64_t dst_bytes, int64_t first, int64_t n, const ConvertSite& site,
                         const IndexMap& index);

// The row and column of ConvertKernels::run for a type.
ConvertRun convert_run(const CpuKernels& cpu, DType src, DType dst);

}  // namespace gvm
