#include <vector>

#include "cpu/strided.h"

namespace gvm {

namespace {

enum { kCount, kAxis, kLargest, kSorted };

// Puts the positions of the k first of n elements, `inside` apart, in front of the list.
template <typename T>
void choose(const T* row, int64_t n, int64_t inside, int64_t k, bool largest, bool sorted,
            std::vector<int32_t>* list) {
  for (int64_t i = 0; i < n; ++i) (*list)[static_cast<size_t>(i)] = static_cast<int32_t>(i);
  const auto comes_first = [&](int32_t a, int32_t b) {
    const T x = row[a * inside], y = row[b * inside];
    if (x != y) return largest ? x > y : x < y;
    return a < b;
  };
  const auto begin = list->begin(), end = begin + k;
  std::partial_sort(begin, end, list->end(), comes_first);
  if (!sorted) std::sort(begin, end);
}

template <typename T>
void top_k(const Call& call) {
  const Tensor& x = call.in[0];
  const int64_t axis = call.attr(kAxis), n = x.dims[axis], k = call.attr(kCount);
  int64_t inside = 1;
  for (int64_t i = axis + 1; i < x.type.rank; ++i) inside *= x.dims[i];
  T* values = call.out[0].as<T>();
  int32_t* positions = call.out[1].as<int32_t>();
  for_ranges(call, x.elements / n, kGrain / 8 / n + 1, [&](int64_t first, int64_t last) {
    std::vector<int32_t> list(static_cast<size_t>(n));
    for (int64_t i = first; i < last; ++i) {
      const int64_t outside = i / inside, within = i % inside;
      const T* row = x.as<T>() + outside * n * inside + within;
      choose(row, n, inside, k, call.attr(kLargest) != 0, call.attr(kSorted) != 0, &list);
      for (int64_t j = 0; j < k; ++j) {
        const int64_t to = (outside * k + j) * inside + within;
        positions[to] = list[static_cast<size_t>(j)];
        values[to] = row[positions[to] * inside];
      }
    }
  });
}

Status run(const Call& call) {
  with_narrow(call.in[0].type.dtype, [&](auto zero) { top_k<decltype(zero)>(call); });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_top_k = {run};

}  // namespace gvm
