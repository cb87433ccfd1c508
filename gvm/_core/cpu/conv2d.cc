#include <algorithm>
#include <atomic>

#include "cpu/convolution.h"
#include "cpu/form.h"

namespace gvm {

namespace {

// One group: pixels of y by filters.
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
  job.m = gather.positions();
  job.n = c.group_filters();
  job.k = gather.terms();
  job.a = positions_as_lines(gather);
  job.b = strided_lines(filters);
  job.epilogue = epilogue_of(call, first_filter);
  job.epilogue.rows.first = first_filter;
  job.epilogue.rows.step = c.filters;
  job.kept = call.kept;
  job.first_kept = group * job.kept_pieces();
  gemm(job, *call.cpu, *call.threads, *call.scratch);
}

// sums[f] += x . w for one element of the window, over all groups.
void add_element(const Convolution& c, const int16_t* x, const int16_t* w, int64_t* sums) {
  const int64_t channels = c.group_channels(), filters = c.group_filters();
  if (channels == 1 && filters == 1) {
    for (int64_t f = 0; f < c.filters; ++f) sums[f] += int64_t{x[f]} * w[f];
    return;
  }
  for (int64_t group = 0; group < c.groups; ++group) {
    for (int64_t i = 0; i < channels; ++i) {
      const int64_t value = x[group * channels + i];
      const int16_t* row = w + i * c.filters;
      for (int64_t f = group * filters; f < (group + 1) * filters; ++f) sums[f] += value * row[f];
    }
  }
}

// All groups at once, term by term: a task is a row of pixels of y.
void run_thin(const Call& call, const Convolution& c) {
  const int16_t* x = call.in[0].as<int16_t>();
  const int16_t* w = call.in[1].as<int16_t>();
  const WindowAxis& h = c.window.h;
  const WindowAxis& v = c.window.w;
  const Epilogue to = epilogue_of(call);
  const int64_t rows = call.in[0].dims[0] * h.out();
  const int64_t threads = call.threads->count();
  int64_t* const memory = static_cast<int64_t*>(call.scratch->get(0, threads * c.filters * 8));
  std::atomic<int64_t> clamps{0};
  call.threads->parallel_for(rows, [&](int64_t task, int thread) {
    int64_t* const sums = memory + thread * c.filters;
    const int64_t image = task / h.out(), row = task % h.out();
    int64_t clamped = 0;
    for (int64_t column = 0; column < v.out(); ++column) {
      std::fill(sums, sums + c.filters, int64_t{0});
      for (int64_t r = h.first(row); r < h.last(row); ++r) {
        for (int64_t s = v.first(column); s < v.last(column); ++s) {
          const int64_t i = h.start(row) + r * h.dilation, j = v.start(column) + s * v.dilation;
          add_element(c, x + ((image * h.in + i) * v.in + j) * c.channels,
                      w + (r * v.window + s) * c.group_channels() * c.filters, sums);
        }
      }
      clamped +=
          emit_sums(to, *call.cpu, sums, c.filters, 0, (task * v.out() + column) * c.filters);
    }
    clamps += clamped;
  });
  if (to.clamps != nullptr) *to.clamps += clamps;
}

Status run(const Call& call) {
  const Tensor& x = call.in[0];
  const Tensor& w = call.in[1];
  const Convolution c = make_convolution(*call.attributes, x.dims[1], x.dims[2], x.dims[3],
                                         w.dims[0], w.dims[1], w.dims[3]);
  if (is_thin(c)) {
    run_thin(call, c);
  } else {
    for (int64_t group = 0; group < c.groups; ++group) run_group(call, c, group);
  }
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_conv2d = {run, true, false, false, false, false, false, conv2d_form};

}  // namespace gvm
