#include "cuda/line.h"

namespace gvm {

enum { kCount, kAxis, kLargest, kSorted };

// Each of the k is the first, in the order wanted, of those behind the one before it. Unsorted, the
// chosen are those up to the last, by their positions.
static Status run_top_k(const Call& call) {
  const Tensor& in = call.in[0];
  const Lines lines = lines_along(in, call.attr(kAxis));
  const int64_t count = call.attr(kCount);
  const bool largest = call.attr(kLargest) != 0, sorted = call.attr(kSorted) != 0;
  const Cells x = cells(in), values = cells(call.out[0]);
  int32_t* const positions = call.out[1].as<int32_t>();
  call.cuda->each(
      in.elements / lines.length, GVM_EACH(int64_t i) {
        const int64_t first = lines.first(i);
        const int64_t to = i / lines.inside * count * lines.inside + i % lines.inside;
        int64_t last = -1, last_value = 0;  // the one chosen before
        for (int64_t j = 0; j < count; ++j) {
          int64_t best = -1, best_value = 0;
          for (int64_t k = 0; k < lines.length; ++k) {
            const int64_t v = x.get(first + k * lines.inside);
            const bool beyond = largest ? v < last_value : v > last_value;
            if (last >= 0 && !beyond && (v != last_value || k <= last)) continue;
            if (best >= 0 && (largest ? v <= best_value : v >= best_value)) continue;
            best = k;
            best_value = v;
          }
          last = best;
          last_value = best_value;
          if (!sorted) continue;
          values.set(to + j * lines.inside, best_value);
          positions[to + j * lines.inside] = static_cast<int32_t>(best);
        }
        if (sorted) return;
        int64_t j = 0;
        for (int64_t k = 0; k < lines.length; ++k) {
          const int64_t v = x.get(first + k * lines.inside);
          const bool before = largest ? v > last_value : v < last_value;
          if (!before && (v != last_value || k > last)) continue;
          values.set(to + j * lines.inside, v);
          positions[to + j * lines.inside] = static_cast<int32_t>(k);
          ++j;
        }
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_top_k;
const Kernel cuda_kernel_top_k = {run_top_k};

}  // namespace gvm
