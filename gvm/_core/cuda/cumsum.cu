#include "cuda/line.h"

namespace gvm {

enum { kAxis, kExclusive, kReverse };

static Status run_cumsum(const Call& call) {
  const Lines lines = lines_along(call.in[0], call.attr(kAxis));
  const bool exclusive = call.attr(kExclusive) != 0, reverse = call.attr(kReverse) != 0;
  const Cells x = cells(call.in[0]);
  int64_t* const out = call.out[0].as<int64_t>();
  call.cuda->each(
      call.in[0].elements / lines.length, GVM_EACH(int64_t i) {
        const int64_t first = lines.first(i);
        int64_t sum = 0;
        for (int64_t k = 0; k < lines.length; ++k) {
          const int64_t at = first + (reverse ? lines.length - 1 - k : k) * lines.inside;
          const int64_t v = x.get(at);
          out[at] = exclusive ? sum : sum + v;
          sum += v;
        }
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_cumsum;
const Kernel cuda_kernel_cumsum = {run_cumsum};

}  // namespace gvm
