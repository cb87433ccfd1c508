#include "cuda/kernel.h"
#include "ops/pool.h"

namespace gvm {

// delta is added where its window has its first maximum; sums that are converted are held aside.
static Status run_max_pool2d_grad(const Call& call) {
  const Tensor &x = call.in[0], &delta = call.in[1];
  const Window2d window = pool_window(*call.attributes, 0, x.dims[1], x.dims[2]);
  const WindowAxis h = window.h, v = window.w;
  const int64_t channels = x.dims[3], rows = delta.dims[1], columns = delta.dims[2];
  const Cells from = cells(x), d = cells(delta);
  const int64_t elements = call.out[0].elements, bytes = elements * 8;
  const bool held = call.fused != nullptr;
  int64_t* const to =
      held ? static_cast<int64_t*>(call.cuda->scratch(0, bytes)) : call.out[0].as<int64_t>();
  call.cuda->clear(to, bytes);
  call.cuda->each(
      delta.elements, GVM_EACH(int64_t e) {
        const int64_t pixel = e / channels, column = pixel % columns, row = pixel / columns % rows;
        const int64_t first = pixel / columns / rows * h.in * v.in * channels + e % channels;
        int64_t best = INT64_MIN, position = first;
        for (int64_t r = h.first(row); r < h.last(row); ++r) {
          for (int64_t s = v.first(column); s < v.last(column); ++s) {
            const int64_t i = h.start(row) + r * h.dilation, j = v.start(column) + s * v.dilation;
            const int64_t at = first + (i * v.in + j) * channels, q = from.get(at);
            if (q <= best) continue;
            best = q;
            position = at;
          }
        }
        add_to(to + position, d.get(e));
      });
  if (!held) return Status::ok;
  const Exact exact = make_exact(call);
  call.cuda->each(elements, GVM_EACH(int64_t i) { exact.put(i, to[i]); });
  return Status::ok;
}

extern const Kernel cuda_kernel_max_pool2d_grad;
const Kernel cuda_kernel_max_pool2d_grad = {run_max_pool2d_grad, false, false, false, true};

}  // namespace gvm
