#include "cuda/kernel.h"
#include "ops/convolution.h"

namespace gvm {

// d [B, Ho, Wo, O], w [kh, kw, C / groups, O] to [B, H, W, C].
static Status run_conv2d_grad_input(const Call& call) {
  const Tensor &d = call.in[0], &w = call.in[1], &out = call.out[0];
  const std::vector<int64_t>& size = call.list(kConvolutionOwn);
  const Convolution c = make_convolution(*call.attributes, size[0], size[1], out.dims[3], w.dims[0],
                                         w.dims[1], w.dims[3]);
  const WindowAxis h = c.window.h, v = c.window.w;
  const int64_t channels = c.channels, filters = c.filters;
  const int64_t each = c.group_channels(), of_group = c.group_filters();
  const int64_t rows = d.dims[1], columns = d.dims[2];
  const int16_t *const deltas = d.as<int16_t>(), *const weights = w.as<int16_t>();
  const Exact to = make_exact(call);
  call.cuda->each(
      out.elements, GVM_EACH(int64_t e) {
        const int64_t channel = e % channels, pixel = e / channels;
        const int64_t j = pixel % v.in, i = pixel / v.in % h.in, image = pixel / v.in / h.in;
        const int64_t group = channel / each, within = channel % each;
        int64_t sum = 0;
        for (int64_t r = 0; r < h.window; ++r) {
          const int64_t down = i + h.before - r * h.dilation, row = down / h.stride;
          if (down < 0) break;
          if (row * h.stride != down || row >= rows) continue;
          for (int64_t s = 0; s < v.window; ++s) {
            const int64_t across = j + v.before - s * v.dilation, column = across / v.stride;
            if (across < 0) break;
            if (column * v.stride != across || column >= columns) continue;
            const int16_t* a =
                deltas + ((image * rows + row) * columns + column) * filters + group * of_group;
            const int16_t* b =
                weights + ((r * v.window + s) * each + within) * filters + group * of_group;
            for (int64_t k = 0; k < of_group; ++k) sum += int32_t{a[k]} * b[k];
          }
        }
        to.put(e, sum);
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_conv2d_grad_input;
const Kernel cuda_kernel_conv2d_grad_input = {run_conv2d_grad_input, true, false, false};

}  // namespace gvm
