#include "cuda/kernel.h"
#include "ops/pool.h"

namespace gvm {

enum { kWindow, kStrides, kPadding, kDilation, kCountIncludePad, kDtype, kFractionBits, kRounding };

static Status run_avg_pool2d(const Call& call) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const Window2d window = pool_window(*call.attributes, kWindow, x.dims[1], x.dims[2]);
  const WindowAxis h = window.h, v = window.w;
  const int64_t channels = x.dims[3], rows = out.dims[1], columns = out.dims[2];
  const bool include_pad = call.attr(kCountIncludePad) != 0;
  const Site site = make_site(call, out, static_cast<Rounding>(call.attr(kRounding)), call.site);
  const Rescale scale = rescale(x.type.fraction_bits, out.type.fraction_bits);
  const Cells from = cells(x), to = cells(out);
  call.cuda->each(
      out.elements, GVM_EACH(int64_t e) {
        const int64_t pixel = e / channels, column = pixel % columns, row = pixel / columns % rows;
        const int64_t first = pixel / columns / rows * h.in * v.in * channels + e % channels;
        int64_t sum = 0;
        for (int64_t r = h.first(row); r < h.last(row); ++r) {
          for (int64_t s = v.first(column); s < v.last(column); ++s) {
            const int64_t i = h.start(row) + r * h.dilation, j = v.start(column) + s * v.dilation;
            sum += from.get(first + (i * v.in + j) * channels);
          }
        }
        const int64_t count = axis_count(h, row, include_pad) * axis_count(v, column, include_pad);
        to.set(e, site.quotient(shl(from_int64(sum), scale.up), shl(from_int64(count), scale.down),
                                e));
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_avg_pool2d;
const Kernel cuda_kernel_avg_pool2d = {run_avg_pool2d};

}  // namespace gvm
