#include <type_traits>

#include "cpu/reduce.h"

namespace gvm {

namespace {

enum { kAxes };

constexpr int64_t kColumns = 256;   // results that are summed side by side
constexpr int64_t kNarrow = 32768;  // terms of 16 bits whose sum is exact in 32

template <typename T>
using Lane = std::conditional_t<std::is_same_v<T, int16_t>, int32_t, int64_t>;

// out[c] += the sum of x[offset + c] over the reduced elements [begin, end), for c < columns.
template <typename T>
void sum_columns(const Reduction& r, const T* x, int64_t begin, int64_t end, int64_t columns,
                 int64_t* out) {
  for (int64_t from = begin; from < end; from += kNarrow) {
    Lane<T> lanes[kColumns] = {};
    for_reduced(r, from, std::min(end, from + kNarrow), [&](int64_t offset) {
      const T* row = x + offset;
      for (int64_t c = 0; c < columns; ++c) lanes[c] += row[c];
    });
    for (int64_t c = 0; c < columns; ++c) out[c] += lanes[c];
  }
}

template <typename T>
int64_t sum_row(const T* x, int64_t n) {
  int64_t sum = 0;
  for (int64_t from = 0; from < n; from += kNarrow) {
    const int64_t to = std::min(n, from + kNarrow);
    Lane<T> lane = 0;
    for (int64_t i = from; i < to; ++i) lane += x[i];
    sum += lane;
  }
  return sum;
}

// out[e - first] = the sum of the reduced elements [begin, end) for the kept elements e in
// [first, last).
template <typename T>
void sum_part(const Reduction& r, const T* x, int64_t first, int64_t last, int64_t begin,
              int64_t end, int64_t* out) {
  std::fill(out, out + (last - first), 0);
  const int64_t step = r.kept.inner_stride(0);
  for_rows(r.kept, first, last, [&](int64_t element, const int64_t* offsets, int64_t count) {
    int64_t* sums = out + (element - first);
    if (r.by_columns()) {
      for (int64_t c = 0; c < count; c += kColumns) {
        sum_columns(r, x + offsets[0] + c, begin, end, std::min(kColumns, count - c), sums + c);
      }
      return;
    }
    for (int64_t i = 0; i < count; ++i) {
      const T* row = x + offsets[0] + i * step;
      for_rows(r.reduced, begin, end,
               [&](int64_t, const int64_t* at, int64_t n) { sums[i] += sum_row(row + at[0], n); });
    }
  });
}

template <typename T>
void sum(const Call& call, const Reduction& r) {
  const T* x = call.in[0].as<T>();
  int64_t* out = call.out[0].as<int64_t>();
  const int64_t kept = r.kept.elements(), reduced = r.reduced.elements();
  // Few results of many terms: the terms are shared out, and the exact parts added up.
  const int64_t parts = std::min<int64_t>(call.threads->count(), reduced * kept / kGrain);
  if (parts > 1 && kept <= 4096) {
    int64_t* sums = static_cast<int64_t*>(
        call.scratch->get(0, parts * kept * static_cast<int64_t>(sizeof(int64_t))));
    call.threads->parallel_for(parts, [&](int64_t part) {
      sum_part(r, x, 0, kept, reduced * part / parts, reduced * (part + 1) / parts,
               sums + part * kept);
    });
    for (int64_t i = 0; i < kept; ++i) {
      out[i] = 0;
      for (int64_t part = 0; part < parts; ++part) out[i] += sums[part * kept + i];
    }
    return;
  }
  const int64_t grain = (kGrain / reduced / kColumns + 1) * kColumns;
  for_ranges(call, kept, grain, [&](int64_t first, int64_t last) {
    sum_part(r, x, first, last, 0, reduced, out + first);
  });
}

Status run(const Call& call) {
  const Reduction r = make_reduction(call.in[0], call.list(kAxes));
  with_integer(call.in[0].type.dtype, [&](auto zero) { sum<decltype(zero)>(call, r); });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_reduce_sum = {run};

}  // namespace gvm
