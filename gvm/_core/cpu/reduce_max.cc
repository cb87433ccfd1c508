#include <limits>

#include "cpu/reduce.h"

namespace gvm {

namespace {

enum { kAxes };

template <typename T>
void reduce(const Call& call, const Reduction& r) {
  const T* x = call.in[0].as<T>();
  T* out = call.out[0].as<T>();
  const int64_t reduced = r.reduced.elements(), step = r.kept.inner_stride(0);
  for_ranges(call, r.kept.elements(), kGrain / reduced + 1, [&](int64_t first, int64_t last) {
    std::fill(out + first, out + last, std::numeric_limits<T>::min());
    for_rows(r.kept, first, last, [&](int64_t element, const int64_t* at, int64_t count) {
      T* best = out + element;
      if (r.by_columns()) {
        for_reduced(r, 0, reduced, [&](int64_t offset) {
          const T* row = x + at[0] + offset;
          GVM_INDEPENDENT
          for (int64_t c = 0; c < count; ++c) best[c] = row[c] > best[c] ? row[c] : best[c];
        });
        return;
      }
      for (int64_t i = 0; i < count; ++i) {
        const T* start = x + at[0] + i * step;
        for_rows(r.reduced, 0, reduced, [&](int64_t, const int64_t* offsets, int64_t n) {
          const T* row = start + offsets[0];
          T largest = best[i];
          for (int64_t k = 0; k < n; ++k) largest = row[k] > largest ? row[k] : largest;
          best[i] = largest;
        });
      }
    });
  });
}

Status run(const Call& call) {
  const Reduction r = make_reduction(call.in[0], call.list(kAxes));
  with_narrow(call.in[0].type.dtype, [&](auto zero) { reduce<decltype(zero)>(call, r); });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_reduce_max = {run};

}  // namespace gvm
