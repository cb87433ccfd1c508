#include "cpu/reduce.h"
#include "cuda/kernel.h"

namespace gvm {

enum { kAxes };

// delta goes to the first maximum.
static Status run_reduce_max_grad(const Call& call) {
  const Reduction r = make_reduction(call.in[0], call.list(kAxes));
  const Nest<1> kept = r.kept, reduced = r.reduced;
  const int64_t terms = reduced.elements();
  const Cells x = cells(call.in[0]), delta = cells(call.in[1]), out = cells(call.out[0]);
  call.cuda->each(
      kept.elements(), GVM_EACH(int64_t i) {
        const int64_t first = place(kept, 0, i);
        int64_t position = first + place(reduced, 0, 0), largest = x.get(position);
        out.set(position, 0);
        for (int64_t k = 1; k < terms; ++k) {
          const int64_t at = first + place(reduced, 0, k), v = x.get(at);
          out.set(at, 0);
          if (v <= largest) continue;
          largest = v;
          position = at;
        }
        out.set(position, delta.get(i));
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_reduce_max_grad;
const Kernel cuda_kernel_reduce_max_grad = {run_reduce_max_grad};

}  // namespace gvm
