#include "cuda/kernel.h"
#include "ops/pool.h"

namespace gvm {

static Status run_max_pool2d(const Call& call) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const Window2d window = pool_window(*call.attributes, 0, x.dims[1], x.dims[2]);
  const WindowAxis h = window.h, v = window.w;
  const int64_t channels = x.dims[3], rows = out.dims[1], columns = out.dims[2];
  const Cells from = cells(x), to = cells(out);
  call.cuda->each(
      out.elements, GVM_EACH(int64_t e) {
        const int64_t pixel = e / channels, column = pixel % columns, row = pixel / columns % rows;
        const int64_t first = pixel / columns / rows * h.in * v.in * channels + e % channels;
        int64_t best = INT64_MIN;
        for (int64_t r = h.first(row); r < h.last(row); ++r) {
          for (int64_t s = v.first(column); s < v.last(column); ++s) {
            const int64_t i = h.start(row) + r * h.dilation, j = v.start(column) + s * v.dilation;
            const int64_t q = from.get(first + (i * v.in + j) * channels);
            best = q > best ? q : best;
          }
        }
        to.set(e, best);
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_max_pool2d;
const Kernel cuda_kernel_max_pool2d = {run_max_pool2d};

}  // namespace gvm
