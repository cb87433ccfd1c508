#include <algorithm>

#include "cpu/convolution.h"
#include "cpu/form.h"

namespace gvm {

namespace {

// One group: what the pixels of d read of x by filters, summed over the pixels.
void run_group(const Call& call, const Convolution& c, int64_t group) {
  const Tensor& x = call.in[0];
  Gather gather;
  gather.data = x.as<int16_t>();
  gather.images = x.dims[0];
  gather.image_channels = c.channels;
  gather.first_channel = group * c.group_channels();
  gather.channels = c.group_channels();
  gather.h = gather_axis(c.window.h);
  gather.w = gather_axis(c.window.w);
  const int64_t first_filter = group * c.group_filters();
  const StridedLines filters = {call.in[1].as<int16_t>() + first_filter, 1, c.filters};
  Gemm job;
  job.m = gather.terms();
  job.n = c.group_filters();
  job.k = gather.positions();
  job.a = positions_as_terms(gather);
  job.b = strided_lines(filters);
  job.epilogue = epilogue_of(call, first_filter);
  job.epilogue.rows.first = first_filter;
  job.epilogue.rows.step = c.filters;
  gemm(job, *call.cpu, *call.threads, *call.scratch);
}

// All groups at once, pixel by pixel: a task is an element of the window.
void run_thin(const Call& call, const Convolution& c) {
  const int16_t* x = call.in[0].as<int16_t>();
  const int16_t* d = call.in[1].as<int16_t>();
  const WindowAxis& h = c.window.h;
  const WindowAxis& v = c.window.w;
  const int64_t images = call.in[0].dims[0], channels = c.group_channels();
  const int64_t filters = c.group_filters(), each = channels * c.filters;
  const Epilogue to = epilogue_of(call);
  int64_t* const memory =
      static_cast<int64_t*>(call.scratch->get(0, c.window.elements() * each * 8));
  call.threads->parallel_for(c.window.elements(), [&](int64_t task) {
    const int64_t r = task / v.window, s = task % v.window;
    int64_t* const sums = memory + task * each;
    std::fill(sums, sums + each, int64_t{0});
    for (int64_t image = 0; image < images; ++image) {
      for (int64_t row = h.first_position(r); row < h.last_position(r); ++row) {
        for (int64_t column = v.first_position(s); column < v.last_position(s); ++column) {
          const int64_t i = h.start(row) + r * h.dilation, j = v.start(column) + s * v.dilation;
          const int16_t* pixel = x + ((image * h.in + i) * v.in + j) * c.channels;
          const int16_t* delta = d + ((image * h.out() + row) * v.out() + column) * c.filters;
          for (int64_t k = 0; k < channels; ++k) {
            for (int64_t f = 0; f < c.filters; ++f) {
              sums[k * c.filters + f] += int64_t{pixel[f / filters * channels + k]} * delta[f];
            }
          }
        }
      }
    }
    emit_sums(to, *call.cpu, sums, each, 0, task * each);
  });
}

Status run(const Call& call) {
  const Tensor& x = call.in[0];
  const Tensor& d = call.in[1];
  const std::vector<int64_t>& kernel = call.list(kConvolutionOwn);
  const Convolution c = make_convolution(*call.attributes, x.dims[1], x.dims[2], x.dims[3],
                                         kernel[0], kernel[1], d.dims[3]);
  if (is_thin(c)) {
    run_thin(call, c);
  } else {
    for (int64_t group = 0; group < c.groups; ++group) run_group(call, c, group);
  }
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_conv2d_grad_weight = {run,   false, false, false,
                                                 false, true,  false, conv2d_grad_weight_form};

}  // namespace gvm
