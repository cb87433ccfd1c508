#include "cpu/table.h"

namespace gvm {

namespace {

enum { kSize };

// Each task has columns of its own, so that no two add to one sum.
template <typename T>
void add_rows(const Call& call, int64_t rows, int64_t columns) {
  const T* delta = call.in[0].as<T>();
  const int32_t* index = call.in[1].as<int32_t>();
  const int64_t count = call.in[1].elements;
  int64_t* out = call.out[0].as<int64_t>();
  for_ranges(call, columns, kGrain / std::max(count, rows) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = 0; row < rows; ++row) {
      std::fill(out + row * columns + begin, out + row * columns + end, int64_t{0});
    }
    for (int64_t i = 0; i < count; ++i) {
      const T* from = delta + i * columns;
      int64_t* to = out + index[i] * columns;
      for (int64_t k = begin; k < end; ++k) to[k] += from[k];
    }
  });
}

Status run(const Call& call) {
  const int64_t rows = call.attr(kSize);
  if (!check_indices(call, call.in[1], rows)) return Status::bad_input;
  const int64_t columns = call.out[0].elements / rows;
  with_narrow(call.in[0].type.dtype,
              [&](auto zero) { add_rows<decltype(zero)>(call, rows, columns); });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_gather_grad = {run};

}  // namespace gvm
