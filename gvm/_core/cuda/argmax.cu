#include "cuda/line.h"

namespace gvm {

enum { kAxis };

// The first largest of each line.
static Status run_argmax(const Call& call) {
  const Lines lines = lines_along(call.in[0], call.attr(kAxis));
  const Cells x = cells(call.in[0]);
  int32_t* const out = call.out[0].as<int32_t>();
  call.cuda->each(
      call.out[0].elements, GVM_EACH(int64_t i) {
        const int64_t first = lines.first(i);
        int64_t largest = x.get(first), position = 0;
        for (int64_t k = 1; k < lines.length; ++k) {
          const int64_t v = x.get(first + k * lines.inside);
          if (v <= largest) continue;
          largest = v;
          position = k;
        }
        out[i] = static_cast<int32_t>(position);
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_argmax;
const Kernel cuda_kernel_argmax = {run_argmax};

}  // namespace gvm
