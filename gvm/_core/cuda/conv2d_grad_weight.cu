#include "cuda/kernel.h"
#include "ops/convolution.h"

namespace gvm {

// x [B, H, W, C], d [B, Ho, Wo, O] to [kh, kw, C / groups, O]; a thread sums the positions of some
// images, and several add to a weight.
static Status run_conv2d_grad_weight(const Call& call) {
  const Tensor &x = call.in[0], &d = call.in[1], &out = call.out[0];
  const std::vector<int64_t>& kernel = call.list(kConvolutionOwn);
  const Convolution c = make_convolution(*call.attributes, x.dims[1], x.dims[2], x.dims[3],
                                         kernel[0], kernel[1], d.dims[3]);
  const WindowAxis h = c.window.h, v = c.window.w;
  const int64_t channels = c.channels, filters = c.filters;
  const int64_t each = c.group_channels(), of_group = c.group_filters();
  const int64_t rows = d.dims[1], columns = d.dims[2], weights = out.elements;
  const int16_t *const images = x.as<int16_t>(), *const deltas = d.as<int16_t>();
  int64_t* const to = out.as<int64_t>();
  call.cuda->clear(to, out.bytes());
  call.cuda->each(
      weights * x.dims[0], GVM_EACH(int64_t task) {
        const int64_t e = task % weights, image = task / weights;
        const int64_t filter = e % filters, tap = e / filters / each;
        const int64_t r = tap / v.window, s = tap % v.window;
        const int64_t channel = filter / of_group * each + e / filters % each;
        int64_t sum = 0;
        for (int64_t row = h.first_position(r); row < h.last_position(r); ++row) {
          const int64_t i = h.start(row) + r * h.dilation;
          for (int64_t column = v.first_position(s); column < v.last_position(s); ++column) {
            const int64_t j = v.start(column) + s * v.dilation;
            sum += int32_t{images[((image * h.in + i) * v.in + j) * channels + channel]} *
                   deltas[((image * rows + row) * columns + column) * filters + filter];
          }
        }
        add_to(to + e, sum);
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_conv2d_grad_weight;
const Kernel cuda_kernel_conv2d_grad_weight = {run_conv2d_grad_weight};

}  // namespace gvm
