#include <algorithm>
#include <atomic>

#include "cpu/convolution.h"
#include "cpu/form.h"
#include "cpu/panels.h"

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

// Memory of one thread for a product within a task.
class TaskScratch : public Scratch {
 public:
  void* get(int slot, int64_t bytes) override {
    std::vector<uint8_t>& memory = slots_[slot];
    const size_t needed = static_cast<size_t>(bytes) + kLine;
    if (memory.size() < needed) memory.resize(needed);
    const uintptr_t at = reinterpret_cast<uintptr_t>(memory.data());
    return memory.data() + (kLine - at % kLine) % kLine;
  }

 private:
  static constexpr size_t kLine = 64;
  std::vector<uint8_t> slots_[4];
};

constexpr int64_t kVector = 32;        // what columns of a product are rounded up to, about
constexpr int64_t kAddCost = 16;       // of adding a sum to another, in multiply-adds
constexpr int64_t kScatterRows = 128;  // positions that are worth packing the weights for

// Whether products of whole windows, added where windows overlap, cost less than gathering what
// each pixel reads: few channels leave most of a vector of columns empty, and much of what the
// pixels at an image's edge read is padding.
bool scatters(const Convolution& c) {
  if (c.groups > 1) return false;
  const WindowAxis& h = c.window.h;
  const WindowAxis& v = c.window.w;
  const int64_t columns = c.window.elements() * c.channels, positions = h.out() * v.out();
  const int64_t whole =
      positions * (divide_up(columns, kVector) * kVector * c.filters + columns * kAddCost);
  const int64_t strides = h.stride * v.stride;
  const int64_t gathered = h.in * v.in * (c.window.elements() / strides + 1) * c.filters *
                           divide_up(c.channels, kVector) * kVector;
  return whole < gathered / 2;
}

// Adds what the windows of an image's positions hold: [positions, window, channels] to
// [pixels, channels].
void add_windows(const Convolution& c, const RowKernels& kernels, const int64_t* windows,
                 int64_t* pixels) {
  const WindowAxis& h = c.window.h;
  const WindowAxis& v = c.window.w;
  for (int64_t row = 0; row < h.out(); ++row) {
    for (int64_t column = 0; column < v.out(); ++column) {
      for (int64_t r = h.first(row); r < h.last(row); ++r) {
        // Elements of a window's row that are neighbours in the image are added together.
        const int64_t joined = v.dilation == 1 ? std::max<int64_t>(v.window, 1) : 1;
        for (int64_t s = v.first(column); s < v.last(column); s += joined) {
          const int64_t i = h.start(row) + r * h.dilation, j = v.start(column) + s * v.dilation;
          const int64_t count = std::min(joined, v.last(column) - s);
          kernels.add(windows + (r * v.window + s) * c.channels, count * c.channels,
                      pixels + (i * v.in + j) * c.channels);
        }
      }
      windows += c.window.elements() * c.channels;
    }
  }
}

// The product of every position's d by all of w, added up image by image. A task is some images.
void run_scattered(const Call& call, const Convolution& c) {
  const int64_t images = call.in[0].dims[0], positions = c.window.h.out() * c.window.w.out();
  const int64_t columns = c.window.elements() * c.channels;
  const int64_t pixels = c.window.h.in * c.window.w.in, elements = pixels * c.channels;
  const int64_t each = std::min(images, divide_up(kScatterRows, std::max<int64_t>(positions, 1)));
  const Epilogue to = epilogue_of(call);
  std::vector<int64_t> bias(static_cast<size_t>(c.channels));
  for (int64_t k = 0; to.bias != nullptr && k < c.channels; ++k) {
    bias[static_cast<size_t>(k)] = bias_at(to, k);
  }
  std::vector<TaskScratch> scratch(static_cast<size_t>(call.threads->count()));
  std::atomic<int64_t> clamps{0};
  call.threads->parallel_for(divide_up(images, each), [&](int64_t task, int thread) {
    TaskScratch& mine = scratch[static_cast<size_t>(thread)];
    const int64_t first = task * each, count = std::min(each, images - first);
    int64_t* const memory =
        static_cast<int64_t*>(mine.get(3, (count * positions * columns + elements) * int64_t{8}));
    int64_t* const sums = memory + count * positions * columns;
    const StridedLines rows = {call.in[0].as<int16_t>() + first * positions * c.filters, c.filters,
                               1};
    const StridedLines kernel = {call.in[1].as<int16_t>(), c.filters, 1};
    Gemm job;
    job.m = count * positions;
    job.n = columns;
    job.k = c.filters;
    job.a = strided_lines(rows);
    job.b = strided_lines(kernel);
    job.epilogue.data = memory;
    job.epilogue.rows.step = columns;
    Threads alone(1);
    gemm(job, *call.cpu, alone, mine);
    int64_t clamped = 0;
    for (int64_t image = 0; image < count; ++image) {
      for (int64_t i = 0; i < pixels; ++i) {
        std::copy(bias.begin(), bias.end(), sums + i * c.channels);
      }
      add_windows(c, call.cpu->rows, memory + image * positions * columns, sums);
      clamped += put_sums(to, *call.cpu, sums, DType::i64, elements, (first + image) * elements);
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
  if (scatters(c)) {
    run_scattered(call, c);
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

extern const Kernel kernel_conv2d_grad_input = {run,   true,  false, false,
                                                false, false, false, conv2d_grad_input_form};

}  // namespace gvm
