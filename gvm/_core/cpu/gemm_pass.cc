// How a pass is dealt to tasks, what each holds, and packing.
#include "cpu/gemm_pass.h"

namespace gvm {

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
         2 * align((kFineBlocks + 1) * 8) +
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
  memory.fine_a = reinterpret_cast<uint64_t*>(take((kFineBlocks + 1) * 8));
  memory.fine_b = reinterpret_cast<uint64_t*>(take((kFineBlocks + 1) * 8));
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

}  // namespace gvm
