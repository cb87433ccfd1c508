#include "cuda/kernel.h"
#include "ops/convolution.h"

namespace gvm {

static Status run_conv2d(const Call& call) {
  const Tensor &x = call.in[0], &w = call.in[1], &out = call.out[0];
  const Convolution c = make_convolution(*call.attributes, x.dims[1], x.dims[2], x.dims[3],
                                         w.dims[0], w.dims[1], w.dims[3]);
  const WindowAxis h = c.window.h, v = c.window.w;
  const int64_t channels = c.channels, filters = c.filters;
  const int64_t each = c.group_channels(), of_group = c.group_filters();
  const int64_t rows = out.dims[1], columns = out.dims[2];
  const int16_t *const images = x.as<int16_t>(), *const weights = w.as<int16_t>();
  const Exact to = make_exact(call);
  call.cuda->each(
      out.elements, GVM_EACH(int64_t e) {
        const int64_t filter = e % filters, pixel = e / filters;
        const int64_t column = pixel % columns, row = pixel / columns % rows;
        const int64_t image = pixel / columns / rows * h.in * v.in * channels;
        const int64_t first = image + filter / of_group * each;
        int64_t sum = 0;
        for (int64_t r = h.first(row); r < h.last(row); ++r) {
          for (int64_t s = v.first(column); s < v.last(column); ++s) {
            const int64_t i = h.start(row) + r * h.dilation, j = v.start(column) + s * v.dilation;
            const int16_t* a = images + first + (i * v.in + j) * channels;
            const int16_t* b = weights + (r * v.window + s) * each * filters + filter;
            for (int64_t k = 0; k < each; ++k) sum += int32_t{a[k]} * b[k * filters];
          }
        }
        to.put(e, sum);
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_conv2d;
const Kernel cuda_kernel_conv2d = {run_conv2d, true, false, false};

}  // namespace gvm
