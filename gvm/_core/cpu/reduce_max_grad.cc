#include <limits>

#include "cpu/reduce.h"

namespace gvm {

namespace {

enum { kAxes };

constexpr int64_t kColumns = 128;  // results that are treated side by side

// For `count` <= kColumns kept elements that lie `step` apart in x and out: delta goes to the first
// maximum, and what is left for the elements after it is 0.
template <typename T, typename Delta>
void scatter(const Reduction& r, const T* x, int64_t step, const Delta* delta, int64_t count,
             Delta* out) {
  T best[kColumns];
  Delta rest[kColumns];
  std::fill(best, best + count, std::numeric_limits<T>::min());
  std::copy(delta, delta + count, rest);
  const int64_t reduced = r.reduced.elements();
  for_reduced(r, 0, reduced, [&](int64_t offset) {
    const T* row = x + offset;
    for (int64_t c = 0; c < count; ++c) best[c] = std::max(best[c], row[c * step]);
  });
  for_reduced(r, 0, reduced, [&](int64_t offset) {
    const T* row = x + offset;
    Delta* to = out + offset;
    for (int64_t c = 0; c < count; ++c) {
      const bool first = row[c * step] == best[c];
      to[c * step] = first ? rest[c] : Delta{0};
      rest[c] = first ? Delta{0} : rest[c];
    }
  });
}

template <typename T, typename Delta>
void spread(const Call& call, const Reduction& r) {
  const T* x = call.in[0].as<T>();
  const Delta* delta = call.in[1].as<Delta>();
  Delta* out = call.out[0].as<Delta>();
  const int64_t step = r.kept.inner_stride(0);
  const int64_t grain = (kGrain / r.reduced.elements() / kColumns + 1) * kColumns;
  for_ranges(call, r.kept.elements(), grain, [&](int64_t first, int64_t last) {
    for_rows(r.kept, first, last, [&](int64_t element, const int64_t* at, int64_t count) {
      for (int64_t c = 0; c < count; c += kColumns) {
        const int64_t offset = at[0] + c * step;
        scatter(r, x + offset, step, delta + element + c, std::min(kColumns, count - c),
                out + offset);
      }
    });
  });
}

Status run(const Call& call) {
  const Reduction r = make_reduction(call.in[0], call.list(kAxes));
  with_narrow(call.in[0].type.dtype, [&](auto zero_x) {
    with_integer(call.in[1].type.dtype,
                 [&](auto zero_delta) { spread<decltype(zero_x), decltype(zero_delta)>(call, r); });
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_reduce_max_grad = {run};

}  // namespace gvm
