#include "cuda/table.h"

namespace gvm {

enum { kSize };

static Status run_gather_grad(const Call& call) {
  const int64_t rows = call.attr(kSize), columns = call.out[0].elements / rows;
  const int32_t* const index = call.in[1].as<int32_t>();
  watch_numbers(call, Rule::index, index, call.in[1].elements, rows);
  const Cells delta = cells(call.in[0]);
  int64_t* const out = call.out[0].as<int64_t>();
  call.cuda->clear(out, call.out[0].bytes());
  call.cuda->each(
      call.in[1].elements * columns, GVM_EACH(int64_t i) {
        add_to(out + number_within(index[i / columns], rows) * columns + i % columns, delta.get(i));
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_gather_grad;
const Kernel cuda_kernel_gather_grad = {run_gather_grad};

}  // namespace gvm
