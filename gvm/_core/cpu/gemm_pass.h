// One pass of a matrix product (cpu/gemm.h): so many of its terms and columns as are packed at
// once.
#pragma once

#include <algorithm>
#include <vector>

#include "cpu/gemm.h"
#include "cpu/gemm_proofs.h"
#include "cpu/panels.h"

namespace gvm {

constexpr int64_t kSplitPairs = 128;  // that are summed by bytes at once
constexpr int64_t kBlockPairs = 512;  // of a panel that are multiplied before the next panel
constexpr int64_t kFineBlocks = kBlockPairs / kFinePairs;
constexpr int64_t kPassTerms = 16384;        // packed at a time
constexpr int64_t kGroupColumns = 128;       // of B that a task packs for itself
constexpr int64_t kSharedColumns = 1024;     // of packed B, where a panel is one block: long
constexpr int64_t kSharedPartColumns = 512;  // rows are converted together; where it is several
constexpr int64_t kBlockRows = 112;
constexpr int64_t kSharedBytes = int64_t{1} << 25;  // of packed B at a time
constexpr int kJamBits = 15;                        // that Convert discards of a jammed sum, and
constexpr int kMostJammed = 16;                     // that were discarded before
constexpr int kFetched = 16;                        // columns of a pair that a tile fetches
constexpr int64_t kSunk = 2048;                     // sums that a sink takes at once
constexpr int64_t kSunkColumns = 1024;              // of a group whose sums a sink takes

// A multiplication of terms [term, term + terms) and columns `columns`, both small enough to pack.
class Pass {
 public:
  Pass(const Gemm& job, const CpuKernels& cpu, Threads& threads, Scratch& scratch, Span terms,
       Span columns)
      : job_(job),
        to_(job.epilogue),
        cpu_(cpu),
        kernels_(cpu.gemm),
        threads_(threads),
        scratch_(scratch),
        terms_(terms),
        columns_(columns) {
    plan();
  }

  void run();

 private:
  // What one thread owns while it multiplies.
  struct Memory {
    Panels a, b;
    int16_t *high, *low;               // a block of a panel of A, split
    int64_t split_panel, split_first;  // which one; -1: none
    int32_t* tile;
    char* sums;         // int32_t or int64_t: one group of columns, for every panel of A held
    int32_t* jammed;    // those of one panel
    uint64_t* largest;  // of a group of panels of B, for every block and over all terms
    uint64_t *fine_a, *fine_b;  // the same of a panel and a group, for a step's fine blocks
    int64_t clamps;
    RouteCounts routes;
  };

  void plan();
  int columns_at(int64_t panel) const {
    const int64_t left = columns_.count - panel * kernels_.columns;
    return static_cast<int>(std::min<int64_t>(kernels_.columns, left));
  }
  int width_at(int64_t panel) const {
    return columns_at(panel) <= kernels_.half_columns ? kernels_.half_columns : kernels_.columns;
  }
  int64_t memory_bytes() const;
  Memory place(char* base) const;
  void pack_a(Span panels, const Panels& to) const;
  void pack_b(Span panels, const Panels& to, int64_t to_first) const;
  void multiply(Span rows, Span groups, Memory* memory) const;
  void fine_norms(const Panels& b, int64_t b_first, int64_t panel_first, int64_t panels, Span pairs,
                  Memory* memory) const;
  void multiply_group(Span rows, int64_t group, const Panels& b, int64_t b_first,
                      Memory* memory) const;
  void split_tile(int64_t a_panel, const Panels& b, int64_t b_panel, int width, Span pairs,
                  int64_t* c, int64_t ldc, int rows, int columns, bool accumulate,
                  Memory* memory) const;
  int64_t emit(const Epilogue& to, const char* sums, DType type, int64_t ldc, int64_t row,
               int64_t rows, int64_t first, int64_t columns) const;

  const Gemm& job_;
  const Epilogue& to_;
  const CpuKernels& cpu_;
  const GemmKernels& kernels_;
  Threads& threads_;
  Scratch& scratch_;
  const Span terms_, columns_;

  int64_t pairs_ = 0, blocks_ = 0;
  std::vector<int64_t> bias_;  // aligned, of the columns; none: empty
  std::vector<int32_t> narrow_bias_;
  bool is_bias_narrow_ = true;  // every aligned bias is below 2^30 in size
  bool jams_ = false;           // wide sums are converted from WideSums::jammed
  Epilogue jammed_to_;
  int64_t row_panels_ = 0, column_panels_ = 0;
  int64_t row_parts_ = 1, column_parts_ = 1;  // tasks
  int64_t held_panels_ = 0;                   // of A, by one task
  int64_t group_panels_ = 0, groups_ = 0;     // of B, multiplied together
  bool shared_b_ = false;                     // packed once for all, or by each task for itself
  Panels b_ = {};
};

}  // namespace gvm
