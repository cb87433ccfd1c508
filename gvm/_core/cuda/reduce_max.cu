#include "cpu/reduce.h"
#include "cuda/kernel.h"

namespace gvm {

enum { kAxes };

static Status run_reduce_max(const Call& call) {
  const Reduction r = make_reduction(call.in[0], call.list(kAxes));
  const Nest<1> kept = r.kept, reduced = r.reduced;
  const int64_t terms = reduced.elements();
  const Cells x = cells(call.in[0]), out = cells(call.out[0]);
  call.cuda->each(
      kept.elements(), GVM_EACH(int64_t i) {
        const int64_t first = place(kept, 0, i);
        int64_t largest = x.get(first + place(reduced, 0, 0));
        for (int64_t k = 1; k < terms; ++k) {
          const int64_t v = x.get(first + place(reduced, 0, k));
          largest = v > largest ? v : largest;
        }
        out.set(i, largest);
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_reduce_max;
const Kernel cuda_kernel_reduce_max = {run_reduce_max};

}  // namespace gvm
