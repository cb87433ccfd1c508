#include "cpu/gemm.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "cpu/gemm_pass.h"

namespace gvm {

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

// The largest sums of squares of a group of panels of B for each fine block of `pairs`. fine_a is
// overwritten.
void Pass::fine_norms(const Panels& b, int64_t b_first, int64_t panel_first, int64_t panels,
                      Span pairs, Memory* memory) const {
  const int64_t blocks = divide_up(pairs.count, kFinePairs);
  std::fill_n(memory->fine_b, blocks, uint64_t{0});
  for (int64_t j = 0; j < panels; ++j) {
    const int width = width_at(panel_first + j);
    kernels_.norms(b.panel(b_first + j) + pairs.first * width * 2, pairs.count, kFinePairs, width,
                   memory->fine_a);
    for (int64_t block = 0; block < blocks; ++block) {
      memory->fine_b[block] = std::max(memory->fine_b[block], memory->fine_a[block]);
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
    bool any_fine = false;
    for (int64_t i = 0; i < rows.count; ++i) {
      const int64_t row = (rows.first + i) * kernels_.rows;
      const int row_count = static_cast<int>(std::min<int64_t>(kernels_.rows, job_.m - row));
      const uint64_t* const a_norms = memory->a.norm(i);
      const bool wide =
          !may_be_narrow || memory->largest[blocks_] > partner(a_norms[blocks_], limit);
      int32_t counts[kFineBlocks + 1];
      int blocks = 0;
      if (wide && may_carry) {
        blocks = cut_blocks(a_norms, memory->largest, pairs, kProofPairs, counts);
        if (blocks == 0 && may_cut_finer(a_norms, memory->largest, pairs)) {
          if (!any_fine) fine_norms(b, b_first, panel_first, panels, pairs, memory);
          any_fine = true;
          kernels_.norms(memory->a.panel(i) + pair * kernels_.rows * 2, pairs.count, kFinePairs,
                         kernels_.rows, memory->fine_a);
          blocks = cut_blocks(memory->fine_a, memory->fine_b, {0, pairs.count}, kFinePairs, counts);
        }
      }
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
        // The first panel of A reads what no other has read. While those behind it are multiplied,
        // what comes next is fetched: the panel's next terms, or the next group.
        const int16_t* next = nullptr;
        const bool more = &b == &b_ && panel_first + panels + j < column_panels_;
        if (i >= 1 && i <= kernels_.columns / kFetched && (!ends || more)) {
          const int16_t* const after =
              ends ? b.panel(b_first + panels + j) : b_data + pairs.count * width * 2;
          next = after + (i - 1) * pairs.count * 2 * kFetched;
        }
        if (!wide) {
          const int32_t* const bias = bias_.empty() ? nullptr : narrow_bias_.data() + column;
          kernels_.tile(pairs.count, a_data, b_data, width, begins ? bias : narrow + at,
                        start_stride, narrow + at, columns, row_count, column_count, next);
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
          kernels_.tile_wide(counts, blocks, a_data, b_data, width, to, row_count, column_count,
                             next);
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
                  memory->tile, kernels_.columns, rows, columns, nullptr);
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

namespace {

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
