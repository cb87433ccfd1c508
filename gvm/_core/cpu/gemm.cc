#include "cpu/gemm.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "cpu/gemm_proofs.h"
#include "cpu/panels.h"

namespace gvm {

namespace {

constexpr int64_t kSplitPairs = 128;         // that are summed by bytes at once
constexpr int64_t kBlockPairs = 512;         // of a panel that are multiplied before the next panel
constexpr int64_t kPassTerms = 16384;        // packed at a time
constexpr int64_t kGroupColumns = 128;       // of B that a task packs for itself
constexpr int64_t kSharedColumns = 1024;     // of packed B, where a panel is one block: long
constexpr int64_t kSharedPartColumns = 512;  // rows are converted together; where it is several
constexpr int64_t kBlockRows = 112;
constexpr int64_t kSharedBytes = int64_t{1} << 25;  // of packed B at a time
constexpr int kJamBits = 15;                        // that Convert discards of a jammed sum, and
constexpr int kMostJammed = 16;                     // that were discarded before
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

// How rows and columns are dealt to tasks, and how much of each is held at a time.
void Pass::plan() {
  pairs_ = divide_up(terms_.count, 2);
  blocks_ = divide_up(pairs_, kProofPairs);
  row_panels_ = divide_up(job_.m, kernels_.rows);
  column_panels_ = divide_up(columns_.count, kernels_.columns);
  const int64_t threads = threads_.count();
  const int64_t most = kBlockRows / kernels_.rows;
  const bool few = row_panels_ <= most, whole = pairs_ <= kBlockPairs;
  shared_b_ = job_.kept != nullptr;
  // A sink gets rows as long as they are held.
  int64_t group_columns = few ? kGroupColumns : kSharedPartColumns;
  if (whole && (shared_b_ || !few)) group_columns = kSharedColumns;
  if (to_.sink != nullptr) group_columns = kSunkColumns;
  group_panels_ = group_columns / kernels_.columns;
  if (!few) {
    shared_b_ = true;
    row_parts_ = std::min(row_panels_, divide_up(divide_up(row_panels_, most), threads) * threads);
  } else if (threads > 1) {
    group_panels_ = std::max<int64_t>(1, std::min(group_panels_, column_panels_ / threads));
    column_parts_ = std::min(column_panels_, threads);
    if (column_parts_ < threads && row_panels_ > column_parts_) {
      shared_b_ = true;
      column_parts_ = 1;
      row_parts_ = std::min(row_panels_, threads);
    }
  }
  groups_ = divide_up(column_panels_, group_panels_);
  column_parts_ = std::min(column_parts_, groups_);
  held_panels_ = divide_up(row_panels_, row_parts_);
  if (to_.bias != nullptr) {
    const int64_t limit = int64_t{1} << 30;
    bias_.resize(static_cast<size_t>(columns_.count));
    narrow_bias_.resize(bias_.size());
    for (size_t j = 0; j < bias_.size(); ++j) {
      bias_[j] = bias_at(to_, columns_.first + static_cast<int64_t>(j));
      narrow_bias_[j] = static_cast<int32_t>(bias_[j]);
      is_bias_narrow_ = is_bias_narrow_ && bias_[j] > -limit && bias_[j] < limit;
    }
  }
  const bool nearest = to_.convert.rounding == Rounding::nearest;
  jams_ = to_.sink == nullptr && to_.type == DType::i16 &&
          to_.convert.shift <= (nearest ? kJamBits + kMostJammed : kJamBits);
  jammed_to_ = to_;
  if (jams_) jammed_to_.convert.shift = std::min(to_.convert.shift, kJamBits);
}

int64_t Pass::memory_bytes() const {
  const Panels a = {nullptr, nullptr, pairs_, blocks_, kernels_.rows};
  const Panels b = {nullptr, nullptr, pairs_, blocks_, kernels_.columns};
  return a.bytes(held_panels_) + (shared_b_ ? 0 : b.bytes(group_panels_)) +
         2 * align(kBlockPairs * kernels_.rows * 4) + align(kernels_.rows * kernels_.columns * 4) +
         align(kernels_.rows * group_panels_ * kernels_.columns * 4) + align((blocks_ + 1) * 8) +
         align(held_panels_ * kernels_.rows * group_panels_ * kernels_.columns * 8);
}

Pass::Memory Pass::place(char* base) const {
  Memory memory = {};
  const auto take = [&base](int64_t bytes) {
    char* const start = base;
    base += align(bytes);
    return start;
  };
  memory.a = {nullptr, nullptr, pairs_, blocks_, kernels_.rows};
  memory.a.place(take(memory.a.bytes(held_panels_)), held_panels_);
  memory.b = {nullptr, nullptr, pairs_, blocks_, kernels_.columns};
  if (!shared_b_) memory.b.place(take(memory.b.bytes(group_panels_)), group_panels_);
  memory.high = reinterpret_cast<int16_t*>(take(kBlockPairs * kernels_.rows * 4));
  memory.low = reinterpret_cast<int16_t*>(take(kBlockPairs * kernels_.rows * 4));
  memory.tile = reinterpret_cast<int32_t*>(take(kernels_.rows * kernels_.columns * 4));
  memory.jammed =
      reinterpret_cast<int32_t*>(take(kernels_.rows * group_panels_ * kernels_.columns * 4));
  memory.largest = reinterpret_cast<uint64_t*>(take((blocks_ + 1) * 8));
  memory.sums = base;
  memory.split_panel = -1;
  return memory;
}

void Pass::pack_a(Span panels, const Panels& to) const {
  const int64_t first = panels.first * kernels_.rows;
  const int64_t rows = std::min(panels.count * kernels_.rows, job_.m - first);
  job_.a.pack(job_.a.context, kernels_, first, rows, terms_.first, terms_.count, kernels_.rows,
              to.panel(0), to.stride());
  for (int64_t i = 0; i < panels.count; ++i) prove(kernels_, to, i, kernels_.rows);
}

void Pass::pack_b(Span panels, const Panels& to, int64_t to_first) const {
  const int64_t first = panels.first * kernels_.columns;
  const int64_t columns = std::min(panels.count * kernels_.columns, columns_.count - first);
  // All panels but a narrow last one together.
  const bool narrow = width_at(panels.end() - 1) != kernels_.columns;
  const int64_t wide = narrow ? (panels.count - 1) * kernels_.columns : columns;
  if (wide != 0) {
    job_.b.pack(job_.b.context, kernels_, columns_.first + first, wide, terms_.first, terms_.count,
                kernels_.columns, to.panel(to_first), to.stride());
  }
  if (narrow) {
    job_.b.pack(job_.b.context, kernels_, columns_.first + first + wide, columns - wide,
                terms_.first, terms_.count, kernels_.half_columns,
                to.panel(to_first + panels.count - 1), to.stride());
  }
  for (int64_t i = 0; i < panels.count; ++i) {
    prove(kernels_, to, to_first + i, width_at(panels.first + i));
  }
}

void Pass::run() {
  if (shared_b_) {
    b_ = {nullptr, nullptr, pairs_, blocks_, kernels_.columns};
    const int64_t bytes = b_.bytes(column_panels_);
    bool fresh = true;
    void* const memory = job_.kept != nullptr ? job_.kept->get(job_.first_kept, bytes, &fresh)
                                              : scratch_.get(0, bytes);
    b_.place(static_cast<char*>(memory), column_panels_);
    const int64_t parts = fresh ? std::min<int64_t>(column_panels_, 4 * threads_.count()) : 0;
    threads_.parallel_for(parts, [&](int64_t i) {
      const Span panels = part(column_panels_, parts, i);
      pack_b(panels, b_, panels.first);
    });
  }
  const int64_t each = align(memory_bytes()) + 64, threads = threads_.count();
  char* const base = static_cast<char*>(scratch_.get(1, each * threads));
  // The last line of each thread's memory counts its clamps and tiles.
  struct Counts {
    int64_t clamps;
    RouteCounts routes;
  };
  static_assert(sizeof(Counts) <= 64, "a line");
  const auto counts = [&](int64_t thread) {
    return reinterpret_cast<Counts*>(base + (thread + 1) * each - 64);
  };
  for (int64_t thread = 0; thread < threads; ++thread) *counts(thread) = {};
  threads_.parallel_for(row_parts_ * column_parts_, [&](int64_t task, int thread) {
    Memory memory = place(base + thread * each);
    multiply(part(row_panels_, row_parts_, task % row_parts_),
             part(groups_, column_parts_, task / row_parts_), &memory);
    Counts& mine = *counts(thread);
    mine.clamps += memory.clamps;
    mine.routes.narrow += memory.routes.narrow;
    mine.routes.wide += memory.routes.wide;
    mine.routes.split += memory.routes.split;
  });
  for (int64_t thread = 0; thread < threads; ++thread) {
    const Counts& those = *counts(thread);
    if (to_.clamps != nullptr) *to_.clamps += those.clamps;
    if (to_.routes == nullptr) continue;
    to_.routes->narrow += those.routes.narrow;
    to_.routes->wide += those.routes.wide;
    to_.routes->split += those.routes.split;
  }
}

void Pass::multiply(Span rows, Span groups, Memory* memory) const {
  pack_a(rows, memory->a);
  for (int64_t group = groups.first; group < groups.end(); ++group) {
    const int64_t first = group * group_panels_;
    if (shared_b_) {
      multiply_group(rows, group, b_, first, memory);
    } else {
      pack_b({first, std::min(group_panels_, column_panels_ - first)}, memory->b, 0);
      multiply_group(rows, group, memory->b, 0, memory);
    }
  }
}

void Pass::multiply_group(Span rows, int64_t group, const Panels& b, int64_t b_first,
                          Memory* memory) const {
  const int64_t panel_first = group * group_panels_;
  const int64_t panels = std::min(group_panels_, column_panels_ - panel_first);
  const int64_t column_first = panel_first * kernels_.columns;
  const int64_t columns = std::min(panels * kernels_.columns, columns_.count - column_first);
  for (int64_t block = 0; block <= blocks_; ++block) {
    uint64_t most = 0;
    for (int64_t j = 0; j < panels; ++j) most = std::max(most, b.norm(b_first + j)[block]);
    memory->largest[block] = most;
  }
  const uint64_t limit = to_.bias != nullptr ? kProofWithBias : kProof;
  const bool may_be_narrow = job_.route == GemmRoute::automatic && is_bias_narrow_;
  const bool may_carry = job_.route != GemmRoute::split && is_bias_narrow_;
  const int64_t steps = std::max<int64_t>(1, divide_up(pairs_, kBlockPairs));
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t pair = step * kBlockPairs;
    const Span pairs = {pair, std::min(kBlockPairs, pairs_ - pair)};
    const bool begins = step == 0, ends = step + 1 == steps;
    for (int64_t i = 0; i < rows.count; ++i) {
      const int64_t row = (rows.first + i) * kernels_.rows;
      const int row_count = static_cast<int>(std::min<int64_t>(kernels_.rows, job_.m - row));
      const uint64_t* const a_norms = memory->a.norm(i);
      const bool wide =
          !may_be_narrow || memory->largest[blocks_] > partner(a_norms[blocks_], limit);
      int32_t counts[kBlockPairs / kProofPairs + 1];
      const int blocks =
          wide && may_carry ? cut_blocks(a_norms, memory->largest, pairs, counts) : 0;
      const bool jams = blocks != 0 && ends && jams_;
      char* const sums = memory->sums + (steps == 1 ? 0 : i * kernels_.rows * columns * 8);
      int32_t* const narrow = reinterpret_cast<int32_t*>(sums);
      int64_t* const exact = reinterpret_cast<int64_t*>(sums);
      // Sums begin with those of the steps before, or the bias.
      const int64_t start_stride = begins ? 0 : columns;
      for (int64_t j = 0; j < panels; ++j) {
        const int width = width_at(panel_first + j);
        const int column_count = columns_at(panel_first + j);
        const int64_t at = j * kernels_.columns;
        const size_t column = static_cast<size_t>(column_first + at);
        const int16_t* const a_data = memory->a.panel(i) + pair * kernels_.rows * 2;
        const int16_t* const b_data = b.panel(b_first + j) + pair * width * 2;
        if (!wide) {
          const int32_t* const bias = bias_.empty() ? nullptr : narrow_bias_.data() + column;
          kernels_.tile(pairs.count, a_data, b_data, width, begins ? bias : narrow + at,
                        start_stride, narrow + at, columns, row_count, column_count);
          ++memory->routes.narrow;
          continue;
        }
        const int64_t* const bias = bias_.empty() ? nullptr : bias_.data() + column;
        if (blocks != 0) {
          WideSums to;
          to.start = begins ? bias : exact + at;
          to.start_stride = start_stride;
          to.exact = jams ? nullptr : exact + at;
          to.jammed = memory->jammed + at;
          to.odd = to_.convert.shift - jammed_to_.convert.shift;
          to.stride = columns;
          kernels_.tile_wide(counts, blocks, a_data, b_data, width, to, row_count, column_count);
          ++memory->routes.wide;
          continue;
        }
        for (int64_t r = 0; begins && bias != nullptr && r < row_count; ++r) {
          std::copy_n(bias, column_count, exact + at + r * columns);
        }
        split_tile(i, b, b_first + j, width, pairs, exact + at, columns, row_count, column_count,
                   !begins || bias != nullptr, memory);
      }
      if (!ends) continue;
      const int64_t first = columns_.first + column_first;
      if (jams) {
        memory->clamps += emit(jammed_to_, reinterpret_cast<const char*>(memory->jammed),
                               DType::i32, columns, row, row_count, first, columns);
      } else {
        memory->clamps += emit(to_, sums, wide ? DType::i64 : DType::i32, columns, row, row_count,
                               first, columns);
      }
    }
  }
}

// A tile's sums over `pairs`, in 64 bits: as few 32-bit sums as can be proved, and bytes where not
// even one block's can.
void Pass::split_tile(int64_t a_panel, const Panels& b, int64_t b_panel, int width, Span pairs,
                      int64_t* c, int64_t ldc, int rows, int columns, bool accumulate,
                      Memory* memory) const {
  const int16_t* const a_data = memory->a.panel(a_panel);
  const int16_t* const b_data = b.panel(b_panel);
  bool add = accumulate;
  const auto sum = [&](const int16_t* a_part, Span part, int shift) {
    kernels_.tile(part.count, a_part, b_data + part.first * width * 2, width, nullptr, 0,
                  memory->tile, kernels_.columns, rows, columns);
    kernels_.widen(memory->tile, kernels_.columns, c, ldc, rows, columns, shift, add);
    add = true;
  };
  const auto sum_proved = [&](Span part) { sum(a_data + part.first * kernels_.rows * 2, part, 0); };
  const auto sum_split = [&](Span part) {
    if (memory->split_panel != a_panel || memory->split_first != pairs.first) {
      kernels_.split(a_data + pairs.first * kernels_.rows * 2, pairs.count * kernels_.rows * 2,
                     memory->high, memory->low);
      memory->split_panel = a_panel;
      memory->split_first = pairs.first;
    }
    // 256 products of a byte (at most 128) and a number (at most 2^15) stay within 2^30.
    const int64_t skip = (part.first - pairs.first) * kernels_.rows * 2;
    sum(memory->high + skip, part, 8);
    sum(memory->low + skip, part, 0);
  };
  // Blocks are joined while their sum is proved; those that are not even by themselves are split.
  Span open = {pairs.first, 0}, large = open;
  uint64_t a_norm = 0, b_norm = 0;
  bool split = false;
  for (int64_t first = pairs.first; first < pairs.end(); first += kProofPairs) {
    const int64_t count = std::min(kProofPairs, pairs.end() - first);
    const uint64_t a_block = memory->a.norm(a_panel)[first / kProofPairs];
    const uint64_t b_block = b.norm(b_panel)[first / kProofPairs];
    const bool alone = job_.route != GemmRoute::split && is_proved(a_block, b_block);
    const bool joins = alone && is_proved(a_norm + a_block, b_norm + b_block);
    if (open.count != 0 && !joins) {
      sum_proved(open);
      open.count = 0;
      a_norm = b_norm = 0;
    }
    if (large.count != 0 && (alone || large.count + count > kSplitPairs)) {
      sum_split(large);
      large.count = 0;
    }
    Span& span = alone ? open : large;
    if (span.count == 0) span.first = first;
    span.count += count;
    if (alone) {
      a_norm += a_block;
      b_norm += b_block;
    } else {
      split = true;
    }
  }
  if (large.count != 0) sum_split(large);
  if (open.count != 0 || !add) sum_proved(open);
  ++(split ? memory->routes.split : memory->routes.wide);
}

int64_t Pass::emit(const Epilogue& to, const char* sums, DType type, int64_t ldc, int64_t row,
                   int64_t rows, int64_t first, int64_t columns) const {
  const int64_t sum_bytes = dtype_bytes(type);
  const bool wide = type == DType::i64;
  // Rows that follow each other in memory are one run.
  const bool joined = ldc == columns && to.rows.step == columns && to.rows.count >= job_.m;
  const int64_t runs = joined ? 1 : rows, length = joined ? rows * columns : columns;
  int64_t clamps = 0;
  for (int64_t i = 0; i < runs; ++i) {
    const char* const from = sums + i * ldc * sum_bytes;
    const int64_t element = to.rows(row + i) + first;
    if (wide || to.type != DType::i64) {
      clamps += put_sums(to, cpu_, from, type, length, element);
    } else if (to.sink != nullptr) {
      for (int64_t done = 0; done < length; done += kSunk) {
        int64_t exact[kSunk];
        const int64_t n = std::min(kSunk, length - done);
        kernels_.widen(reinterpret_cast<const int32_t*>(from) + done, 0, exact, 0, 1, n, 0, false);
        to.sink->take(exact, n, element + done);
      }
    } else {
      kernels_.widen(reinterpret_cast<const int32_t*>(from), 0,
                     static_cast<int64_t*>(to.data) + element, 0, 1, length, 0, to.accumulate);
    }
  }
  return clamps;
}

// How a multiplication is cut into passes: terms and columns of each.
struct Passes {
  int64_t terms, columns;

  Passes(int64_t n, int64_t k, int64_t unit)
      : terms(std::min(std::max<int64_t>(k, 1), kPassTerms)) {
    const int64_t most =
        std::max<int64_t>(1, kSharedBytes / (2 * terms) / kGroupColumns) * kGroupColumns;
    columns = divide_up(divide_up(n, divide_up(n, most)), unit) * unit;
  }
};

// All passes of a multiplication whose terms fit one pass, or whose destination adds them up.
void run_passes(const Gemm& job, const CpuKernels& cpu, Threads& threads, Scratch& scratch) {
  const Passes cut(job.n, job.k, cpu.gemm.columns);
  Gemm pass = job;
  for (int64_t column = 0; column < job.n; column += cut.columns) {
    const Span columns = {column, std::min(cut.columns, job.n - column)};
    pass.epilogue = job.epilogue;
    for (int64_t term = 0; term == 0 || term < job.k; term += cut.terms) {
      Pass(pass, cpu, threads, scratch, {term, std::min(cut.terms, job.k - term)}, columns).run();
      pass.epilogue.accumulate = true;
      pass.epilogue.bias = nullptr;
      ++pass.first_kept;
    }
  }
}

}  // namespace

int64_t Gemm::kept_pieces() const {
  // The narrowest unit of columns bounds the passes of every instruction set.
  const Passes cut(n, k, 1);
  return divide_up(n, cut.columns) * std::max<int64_t>(1, divide_up(k, cut.terms));
}

void gemm(const Gemm& job, const CpuKernels& cpu, Threads& threads, Scratch& scratch) {
  if (job.m == 0 || job.n == 0) return;
  // Packed columns are read faster, even by one row, but packing them for it is not worth it.
  const bool may_be_few = job.route == GemmRoute::automatic && job.kept == nullptr;
  if (may_be_few && gemm_few_rows(job, cpu, threads, scratch)) return;
  const bool adds_up = job.epilogue.type == DType::i64 && job.epilogue.sink == nullptr;
  if (job.k <= kPassTerms || adds_up) {
    run_passes(job, cpu, threads, scratch);
    return;
  }
  // More terms than a pass holds: the exact sums first, then the rest of the epilogue.
  int64_t* const sums = static_cast<int64_t*>(scratch.get(2, job.m * job.n * 8));
  Gemm exact = job;
  exact.epilogue = Epilogue();
  exact.epilogue.data = sums;
  exact.epilogue.rows.step = job.n;
  run_passes(exact, cpu, threads, scratch);
  std::atomic<int64_t> clamps{0};
  threads.parallel_for(job.m, [&](int64_t i) {
    clamps += emit_sums(job.epilogue, cpu, sums + i * job.n, job.n, 0, job.epilogue.rows(i));
  });
  if (job.epilogue.clamps != nullptr) *job.epilogue.clamps += clamps;
}

}  // namespace gvm
