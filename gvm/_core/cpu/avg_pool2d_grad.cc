#include <atomic>

#include "cpu/quotient.h"
#include "cpu/strided.h"
#include "ops/pool.h"

namespace gvm {

namespace {

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

// Calls f(position, divisor / count) for the windows along an axis that read element `at`.
template <typename F>
void for_windows(const WindowAxis& a, int64_t at, bool include_pad, int64_t divisor, F&& f) {
  for (int64_t k = 0; k < a.window; ++k) {
    const int64_t distance = at + a.before - k * a.dilation;
    if (distance < 0) return;
    const int64_t position = distance / a.stride;
    if (position * a.stride != distance || position >= a.out()) continue;
    f(position, divisor / axis_count(a, position, include_pad));
  }
}

// A row of results at a time: sums of delta * (divisor / count), then one quotient.
template <typename T>
void spread(const Call& call, const Window2d& window) {
  const Tensor &delta = call.in[0], &out = call.out[0];
  const int64_t channels = delta.dims[3], columns = delta.dims[2];
  const int64_t rows = window.h.in, width = window.w.in * channels;
  const bool include_pad = call.attr(kCountIncludePad) != 0;
  const int64_t divisor_h = axis_divisor(window.h, include_pad);
  const int64_t divisor_w = axis_divisor(window.w, include_pad);
  const QuotientSite site = make_quotient_site(call, static_cast<Rounding>(call.attr(kRounding)),
                                               delta.type.fraction_bits);
  const IndexMap index = index_map(out.type, call.batch);
  const int64_t bytes = dtype_bytes(out.type.dtype);
  int64_t* buffers = static_cast<int64_t*>(
      call.scratch->get(0, call.threads->count() * width * static_cast<int64_t>(sizeof(int64_t))));
  std::atomic<int64_t> clamps{0};
  call.threads->parallel_for(out.dims[0] * rows, [&](int64_t task, int thread) {
    const T* image = delta.as<T>() + task / rows * delta.dims[1] * columns * channels;
    int64_t* sums = buffers + thread * width;
    std::fill(sums, sums + width, 0);
    for_windows(window.h, task % rows, include_pad, divisor_h, [&](int64_t row, int64_t weight_h) {
      for (int64_t at = 0; at < window.w.in; ++at) {
        int64_t* to = sums + at * channels;
        for_windows(window.w, at, include_pad, divisor_w, [&](int64_t column, int64_t weight_w) {
          const T* d = image + (row * columns + column) * channels;
          const int64_t weight = weight_h * weight_w;
          if (weight == 1) {
            for (int64_t c = 0; c < channels; ++c) to[c] += d[c];
          } else {
            for (int64_t c = 0; c < channels; ++c) to[c] += d[c] * weight;
          }
        });
      }
    });
    const int64_t element = task * width;
    clamps += quotient_row(call, site, sums, width, divisor_h * divisor_w, index(element),
                           out.as<char>() + element * bytes);
  });
  *call.clamps += clamps;
}

Status run(const Call& call) {
  const std::vector<int64_t>& size = call.list(kSize);
  const Window2d window = pool_window(*call.attributes, kWindow, size[0], size[1]);
  with_narrow(call.in[0].type.dtype, [&](auto zero) { spread<decltype(zero)>(call, window); });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_avg_pool2d_grad = {run};

}  // namespace gvm
