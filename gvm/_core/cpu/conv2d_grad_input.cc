#include <algorithm>
#include <atomic>

#include "cpu/convolution.h"

namespace gvm {

namespace {

// The inputs along one axis whose distance from the padding's start leaves the same remainder by
// the stride. They see the same elements of the window, and step through d one by one: along such
// inputs the gradient is a convolution of stride 1 with the window turned round.
struct Phase {
  int64_t first = 0, count = 0;      // inputs first, first + stride, ...
  std::vector<int64_t> elements;     // of the window, from the last to the first
  int64_t before = 0, dilation = 1;  // of that convolution
};

Phase phase_of(const WindowAxis& axis, int64_t remainder) {
  Phase phase;
  const int64_t skip = (remainder - axis.before) % axis.stride;
  phase.first = skip < 0 ? skip + axis.stride : skip;
  if (phase.first < axis.in) phase.count = (axis.in - 1 - phase.first) / axis.stride + 1;
  for (int64_t k = axis.window; k-- > 0;) {
    if ((k * axis.dilation - remainder) % axis.stride == 0) phase.elements.push_back(k);
  }
  if (phase.elements.empty()) return phase;
  // Input i meets element k at position (i + axis.before - k * axis.dilation) / axis.stride.
  const auto position = [&](int64_t k) {
    return (phase.first + axis.before - k * axis.dilation) / axis.stride;
  };
  phase.before = -position(phase.elements[0]);
  if (phase.elements.size() > 1) {
    phase.dilation = position(phase.elements[1]) - position(phase.elements[0]);
  }
  return phase;
}

GatherAxis gather_phase(const WindowAxis& axis, const Phase& phase) {
  return {axis.out(), static_cast<int64_t>(phase.elements.size()), 1, phase.before, phase.dilation,
          phase.count};
}

// One group and one phase along each axis: those pixels of x by channels.
void run_phase(const Call& call, const Convolution& c, int64_t group, const Phase& rows,
               const Phase& columns) {
  const WindowAxis& h = c.window.h;
  const WindowAxis& v = c.window.w;
  Gather gather;
  gather.data = call.in[0].as<int16_t>();
  gather.images = call.in[0].dims[0];
  gather.image_channels = c.filters;
  gather.first_channel = group * c.group_filters();
  gather.channels = c.group_filters();
  gather.h = gather_phase(h, rows);
  gather.w = gather_phase(v, columns);
  KernelChannels kernel;
  kernel.data = call.in[1].as<int16_t>();
  kernel.width = v.window;
  kernel.channels = c.group_channels();
  kernel.filters = c.filters;
  kernel.first_filter = gather.first_channel;
  kernel.group_filters = c.group_filters();
  kernel.rows = rows.elements;
  kernel.columns = columns.elements;
  Gemm job;
  job.m = gather.positions();
  job.n = c.group_channels();
  job.k = gather.terms();
  job.a = positions_as_lines(gather);
  job.b = channels_as_lines(kernel);
  const int64_t first_channel = group * c.group_channels();
  job.epilogue = epilogue_of(call, first_channel);
  RowMap& to = job.epilogue.rows;
  to.first = (rows.first * v.in + columns.first) * c.channels + first_channel;
  to.step = v.stride * c.channels;
  if (h.stride > 1 || v.stride > 1) {
    to.count = columns.count;
    to.line_step = h.stride * v.in * c.channels;
    to.lines = rows.count;
    to.image_step = h.in * v.in * c.channels;
  }
  gemm(job, *call.cpu, *call.threads, *call.scratch);
}

// All groups at once, term by term: a task is a row of pixels of x.
void run_thin(const Call& call, const Convolution& c) {
  const int16_t* d = call.in[0].as<int16_t>();
  const int16_t* w = call.in[1].as<int16_t>();
  const WindowAxis& h = c.window.h;
  const WindowAxis& v = c.window.w;
  const int64_t channels = c.group_channels(), filters = c.group_filters();
  const Epilogue to = epilogue_of(call);
  const int64_t threads = call.threads->count();
  int64_t* const memory = static_cast<int64_t*>(call.scratch->get(0, threads * c.channels * 8));
  std::atomic<int64_t> clamps{0};
  call.threads->parallel_for(call.in[0].dims[0] * h.in, [&](int64_t task, int thread) {
    int64_t* const sums = memory + thread * c.channels;
    const int64_t image = task / h.in, row = task % h.in;
    int64_t clamped = 0;
    for (int64_t column = 0; column < v.in; ++column) {
      std::fill(sums, sums + c.channels, int64_t{0});
      for (int64_t r = 0; r < h.window; ++r) {
        const int64_t i = row + h.before - r * h.dilation;
        if (i < 0 || i % h.stride != 0 || i / h.stride >= h.out()) continue;
        for (int64_t s = 0; s < v.window; ++s) {
          const int64_t j = column + v.before - s * v.dilation;
          if (j < 0 || j % v.stride != 0 || j / v.stride >= v.out()) continue;
          const int16_t* delta =
              d + ((image * h.out() + i / h.stride) * v.out() + j / v.stride) * c.filters;
          const int16_t* weights = w + (r * v.window + s) * channels * c.filters;
          for (int64_t group = 0; group < c.groups; ++group) {
            for (int64_t k = 0; k < channels; ++k) {
              int64_t sum = 0;
              for (int64_t f = group * filters; f < (group + 1) * filters; ++f) {
                sum += int64_t{delta[f]} * weights[k * c.filters + f];
              }
              sums[group * channels + k] += sum;
            }
          }
        }
      }
      clamped += emit_sums(to, *call.cpu, sums, c.channels, 0, (task * v.in + column) * c.channels);
    }
    clamps += clamped;
  });
  if (to.clamps != nullptr) *to.clamps += clamps;
}

Status run(const Call& call) {
  const Tensor& w = call.in[1];
  const std::vector<int64_t>& size = call.list(kConvolutionOwn);
  const Convolution c = make_convolution(*call.attributes, size[0], size[1], call.out[0].dims[3],
                                         w.dims[0], w.dims[1], w.dims[3]);
  if (is_thin(c)) {
    run_thin(call, c);
    return Status::ok;
  }
  for (int64_t i = 0; i < c.window.h.stride; ++i) {
    const Phase rows = phase_of(c.window.h, i);
    if (rows.count == 0) continue;
    for (int64_t j = 0; j < c.window.w.stride; ++j) {
      const Phase columns = phase_of(c.window.w, j);
      if (columns.count == 0) continue;
      for (int64_t group = 0; group < c.groups; ++group) run_phase(call, c, group, rows, columns);
    }
  }
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_conv2d_grad_input = {run, true, false, false};

}  // namespace gvm
