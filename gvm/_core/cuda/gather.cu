#include "cuda/table.h"

namespace gvm {

static Status run_gather(const Call& call) {
  const Tensor &x = call.in[0], &indices = call.in[1];
  const int64_t rows = x.dims[0], columns = x.elements / rows;
  const int32_t* const index = indices.as<int32_t>();
  watch_numbers(call, Rule::index, index, indices.elements, rows);
  const Cells from = cells(x), to = cells(call.out[0]);
  call.cuda->each(
      indices.elements * columns, GVM_EACH(int64_t i) {
        to.set(i, from.get(number_within(index[i / columns], rows) * columns + i % columns));
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_gather;
const Kernel cuda_kernel_gather = {run_gather};

}  // namespace gvm
