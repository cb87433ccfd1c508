#include "cuda/kernel.h"
#include "ops/pool.h"

namespace gvm {

enum {
  kSize,
  kWindow,
  kStrides,
  kPadding,
  kDilation,
  kCountIncludePad,
  kDtype,
  kFractionBits,
  kRounding
};

// Each element sums delta * (divisor / count) over the windows that read it, then one quotient.
static Status run_avg_pool2d_grad(const Call& call) {
  const Tensor &delta = call.in[0], &out = call.out[0];
  const std::vector<int64_t>& size = call.list(kSize);
  const Window2d window = pool_window(*call.attributes, kWindow, size[0], size[1]);
  const WindowAxis h = window.h, v = window.w;
  const int64_t channels = delta.dims[3], rows = delta.dims[1], columns = delta.dims[2];
  const bool include_pad = call.attr(kCountIncludePad) != 0;
  const int64_t divisor_h = axis_divisor(h, include_pad), divisor_w = axis_divisor(v, include_pad);
  const Site site = make_site(call, out, static_cast<Rounding>(call.attr(kRounding)), call.site);
  const Rescale scale = rescale(delta.type.fraction_bits, out.type.fraction_bits);
  const Cells d = cells(delta), to = cells(out);
  call.cuda->each(
      out.elements, GVM_EACH(int64_t e) {
        const int64_t pixel = e / channels, j = pixel % v.in, i = pixel / v.in % h.in;
        const int64_t first = pixel / v.in / h.in * rows * columns * channels + e % channels;
        int64_t sum = 0;
        for (int64_t r = 0; r < h.window; ++r) {
          const int64_t down = i + h.before - r * h.dilation, row = down / h.stride;
          if (down < 0) break;
          if (row * h.stride != down || row >= rows) continue;
          const int64_t weight = divisor_h / axis_count(h, row, include_pad);
          for (int64_t s = 0; s < v.window; ++s) {
            const int64_t across = j + v.before - s * v.dilation, column = across / v.stride;
            if (across < 0) break;
            if (column * v.stride != across || column >= columns) continue;
            sum += d.get(first + (row * columns + column) * channels) * weight *
                   (divisor_w / axis_count(v, column, include_pad));
          }
        }
        to.set(e, site.quotient(shl(from_int64(sum), scale.up),
                                shl(from_int64(divisor_h * divisor_w), scale.down), e));
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_avg_pool2d_grad;
const Kernel cuda_kernel_avg_pool2d_grad = {run_avg_pool2d_grad};

}  // namespace gvm
