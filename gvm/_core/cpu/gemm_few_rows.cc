#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "cpu/gemm.h"

namespace gvm {

namespace {

constexpr int64_t kFewRows = 8;
constexpr int64_t kChunkColumns = 1024;  // of b in a task
constexpr int64_t kLeastColumns = 128;   // worth a task of their own
constexpr int64_t kChunkTerms = 64;      // of b that all rows read before the next
constexpr int kTerms = 8;                // of a kernel's call

// |sum| <= (sum of |a|) * 2^15 stays below 2^31.
constexpr int64_t kMostOfA = 65535;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One row's sums of a chunk of columns: 32 bits while the row's terms allow, then 64.
struct RowSums {
  const int16_t* a;
  int32_t* narrow;
  int64_t* wide;
  int64_t of_a = 0;  // the sum of |a| in `narrow`
  bool any_narrow = false, any_wide = false;
};

void flush(const GemmKernels& kernels, int64_t columns, RowSums* row) {
  if (!row->any_narrow && row->any_wide) return;
  if (!row->any_narrow) std::fill(row->narrow, row->narrow + columns, 0);
  kernels.widen(row->narrow, 0, row->wide, 0, 1, columns, 0, row->any_wide);
  row->any_wide = true;
  row->any_narrow = false;
  row->of_a = 0;
}

// Adds terms [first, last) of a row.
void add_terms(const GemmKernels& kernels, const int16_t* b, int64_t stride, int64_t first,
               int64_t last, int64_t columns, RowSums* row) {
  for (int64_t k = first; k < last;) {
    int count = 0;
    int64_t of_a = 0;
    while (count < kTerms && k + count < last) {
      const int64_t size = std::abs(static_cast<int>(row->a[k + count]));
      if (of_a + size > kMostOfA) break;
      of_a += size;
      ++count;
    }
    if (row->of_a + of_a > kMostOfA) flush(kernels, columns, row);
    kernels.row(row->a + k, count, b + k * stride, stride, columns, row->narrow, row->any_narrow);
    row->any_narrow = true;
    row->of_a += of_a;
    k += count;
  }
}

}  // namespace

bool gemm_few_rows(const Gemm& job, const CpuKernels& cpu, Threads& threads, Scratch& scratch) {
  const StridedLines* a = as_strided(job.a);
  const StridedLines* b = as_strided(job.b);
  if (job.m > kFewRows || a == nullptr || b == nullptr || b->line_stride != 1) return false;
  const int64_t m = job.m, terms = job.k;
  // Rows of a, one after another.
  int16_t* const rows = static_cast<int16_t*>(scratch.get(0, m * terms * 2 + 2));
  int64_t of_a = 0;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t k = 0; k < terms; ++k) {
      const int16_t value = a->data[i * a->line_stride + k * a->term_stride];
      rows[i * terms + k] = value;
      of_a += std::abs(static_cast<int>(value));
    }
  }
  // Numbers so large that 64-bit sums would be most of the work: packing pays for more than 2 rows.
  if (m > 2 && of_a > m * terms * (kMostOfA / kTerms)) return false;
  const int64_t parts =
      std::max(divide_up(job.n, kChunkColumns),
               std::min<int64_t>(threads.count(), divide_up(job.n, kLeastColumns)));
  const int64_t each = m * kChunkColumns * 12;
  char* const memory = static_cast<char*>(scratch.get(1, each * threads.count()));
  std::atomic<int64_t> clamps{0};
  threads.parallel_for(parts, [&](int64_t task, int thread) {
    const int64_t first = job.n * task / parts, columns = job.n * (task + 1) / parts - first;
    int64_t* const wide = reinterpret_cast<int64_t*>(memory + thread * each);
    int32_t* const narrow = reinterpret_cast<int32_t*>(wide + m * kChunkColumns);
    RowSums sums[kFewRows];
    for (int64_t i = 0; i < m; ++i) {
      sums[i].a = rows + i * terms;
      sums[i].narrow = narrow + i * kChunkColumns;
      sums[i].wide = wide + i * kChunkColumns;
    }
    for (int64_t k = 0; k < terms; k += kChunkTerms) {
      const int64_t last = std::min(terms, k + kChunkTerms);
      for (int64_t i = 0; i < m; ++i) {
        add_terms(cpu.gemm, b->data + first, b->term_stride, k, last, columns, &sums[i]);
      }
    }
    int64_t clamped = 0;
    for (int64_t i = 0; i < m; ++i) {
      flush(cpu.gemm, columns, &sums[i]);
      clamped +=
          emit_sums(job.epilogue, cpu, sums[i].wide, columns, first, job.epilogue.rows(i) + first);
    }
    clamps += clamped;
  });
  if (job.epilogue.routes != nullptr) job.epilogue.routes->few_rows += parts;
  if (job.epilogue.clamps != nullptr) *job.epilogue.clamps += clamps;
  return true;
}

}  // namespace gvm
