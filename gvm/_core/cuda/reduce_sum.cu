#include "cpu/reduce.h"
#include "cuda/kernel.h"

namespace gvm {

enum { kAxes };

// A thread sums so many terms; several threads add to a result of more.
static Status run_reduce_sum(const Call& call) {
  constexpr int64_t kTerms = 64;
  const Reduction r = make_reduction(call.in[0], call.list(kAxes));
  const Nest<1> kept = r.kept, reduced = r.reduced;
  const int64_t terms = reduced.elements(), parts = (terms - 1) / kTerms + 1;
  const Cells x = cells(call.in[0]);
  int64_t* const out = call.out[0].as<int64_t>();
  const int64_t results = kept.elements();
  if (parts > 1) call.cuda->clear(out, call.out[0].bytes());
  call.cuda->each(
      results * parts, GVM_EACH(int64_t task) {
        const int64_t i = task % results, begin = task / results * kTerms;
        const int64_t end = begin + kTerms < terms ? begin + kTerms : terms;
        const int64_t first = place(kept, 0, i);
        int64_t sum = 0;
        for (int64_t k = begin; k < end; ++k) sum += x.get(first + place(reduced, 0, k));
        if (parts == 1) {
          out[i] = sum;
        } else {
          add_to(out + i, sum);
        }
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_reduce_sum;
const Kernel cuda_kernel_reduce_sum = {run_reduce_sum};

}  // namespace gvm
