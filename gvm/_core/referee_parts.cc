// What an element is computed from, for results that are made by the same operator on boxes.
#include <algorithm>

#include "ops/window.h"
#include "referee.h"

namespace gvm {

namespace {

bool contains(const std::vector<int64_t>& axes, int axis) {
  for (const int64_t a : axes) {
    if (a == axis) return true;
  }
  return false;
}

// Operands and results of one shape, whole along axes [from, to); `needed`: all of them is read,
// else the element alone.
void rows(const Place& place, int from, int to, bool needed, Reads* reads) {
  reads->kind = Reads::kPart;
  reads->output = through(place.at, from, to, place.out);
  reads->inputs.assign(place.in.size(), reads->output);
  if (!needed) reads->needed.assign(place.in.size(), point(place.at));
}

// All that the operands have of one example.
void example(const Place& place, Reads* reads) {
  reads->kind = Reads::kPart;
  for (const Dims& shape : place.in) {
    Dims at;
    for (int i = 0; i < shape.rank; ++i) at.push(i == 0 ? place.at[0] : 0);
    reads->inputs.push_back(through(at, 1, shape.rank, shape));
  }
  reads->output = through(place.at, 1, place.out.rank, place.out);
}

// Height and width of one channel of one image of [B, H, W, C].
Box plane(const Dims& at, const Dims& shape) {
  return through({4, {at[0], 0, 0, at[3]}}, 1, 3, shape);
}

Window2d window_of(const Place& place, int64_t height, int64_t width) {
  const std::vector<int64_t>& window = place.list("window");
  return make_window(height, width, window[0], window[1], place.list("strides"),
                     place.list("padding"), place.list("dilation"));
}

Range inside(const WindowAxis& a, int64_t position) {
  const int64_t first = a.first(position);
  return {a.start(position) + first * a.dilation, a.last(position) - first, a.dilation};
}

// One element of a pooling: its window, in the plane of its channel.
void pooled(const Place& place, Reads* reads) {
  const Dims &shape = place.in[0], &at = place.at;
  const Window2d g = window_of(place, shape[1], shape[2]);
  Box needed;
  needed.push(only(at[0]));
  needed.push(inside(g.h, at[1]));
  needed.push(inside(g.w, at[2]));
  needed.push(only(at[3]));
  reads->kind = Reads::kPart;
  reads->inputs = {plane(at, shape)};
  reads->needed = {needed};
  reads->output = plane(at, place.out);
}

// The windows that cover an index of the image, from the first to the last of them, and the indices
// from the first to the last that any of these reads.
struct Reaching {
  Range windows{0, 0, 1}, pixels{0, 0, 1};
};

Reaching reaching(const WindowAxis& a, int64_t index) {
  Reaching r;
  int64_t first = a.out(), last = -1;
  for (int64_t k = 0; k < a.window; ++k) {
    const int64_t from = index + a.before - k * a.dilation;
    if (from < 0 || from % a.stride != 0 || from / a.stride >= a.out()) continue;
    first = std::min(first, from / a.stride);
    last = std::max(last, from / a.stride);
  }
  if (last < 0) return r;
  r.windows = {first, last - first + 1, 1};
  int64_t low = a.in, high = -1;
  for (int64_t o = first; o <= last; ++o) {
    if (a.first(o) >= a.last(o)) continue;
    low = std::min(low, a.start(o) + a.first(o) * a.dilation);
    high = std::max(high, a.start(o) + (a.last(o) - 1) * a.dilation);
  }
  if (high >= 0) r.pixels = {low, high - low + 1, 1};
  return r;
}

}  // namespace

void reads_avg_pool2d(const Place& place, Reads* reads) { pooled(place, reads); }
void reads_max_pool2d(const Place& place, Reads* reads) { pooled(place, reads); }

void reads_avg_pool2d_grad(const Place& place, Reads* reads) {
  const Dims& at = place.at;
  const std::vector<int64_t>& size = place.list("size");
  const Window2d g = window_of(place, size[0], size[1]);
  Box needed;
  needed.push(only(at[0]));
  needed.push(reaching(g.h, at[1]).windows);
  needed.push(reaching(g.w, at[2]).windows);
  needed.push(only(at[3]));
  reads->kind = Reads::kPart;
  reads->inputs = {plane(at, place.in[0])};
  reads->needed = {needed};
  reads->output = plane(at, place.out);
}

void reads_max_pool2d_grad(const Place& place, Reads* reads) {
  const Dims &x = place.in[0], &at = place.at;
  const Window2d g = window_of(place, x[1], x[2]);
  const Reaching row = reaching(g.h, at[1]), column = reaching(g.w, at[2]);
  if (row.windows.count == 0 || column.windows.count == 0) return nothing(reads);
  Box windows, pixels;
  for (const bool image : {true, false}) {
    Box& box = image ? pixels : windows;
    box.push(only(at[0]));
    box.push(image ? row.pixels : row.windows);
    box.push(image ? column.pixels : column.windows);
    box.push(only(at[3]));
  }
  // The padding with which an image of these pixels alone has these windows alone.
  for (const auto* pair : {&row, &column}) {
    const WindowAxis& a = pair == &row ? g.h : g.w;
    const int64_t first = a.start(pair->windows.start);
    const int64_t end = first + (pair->windows.count - 1) * a.stride + a.extent();
    reads->padding.push_back(pair->pixels.start - first);
    reads->padding.push_back(end - (pair->pixels.start + pair->pixels.count));
  }
  reads->kind = Reads::kPart;
  reads->cropped = true;
  reads->inputs = {pixels, windows};
  reads->output = pixels;
}

void reads_argmax(const Place& place, Reads* reads) {
  const int axis = static_cast<int>(place.integer("axis"));
  Dims at;
  for (int i = 0; i < place.in[0].rank; ++i) {
    at.push(i < axis ? place.at[i] : i == axis ? 0 : place.at[i - 1]);
  }
  reads->kind = Reads::kPart;
  reads->inputs = {through(at, axis, axis + 1, place.in[0])};
  reads->output = point(place.at);
}

void reads_top_k(const Place& place, Reads* reads) {
  const int axis = static_cast<int>(place.integer("axis"));
  reads->kind = Reads::kPart;
  reads->inputs = {through(place.at, axis, axis + 1, place.in[0])};
  reads->output = through(place.at, axis, axis + 1, place.out);
}

void reads_clip(const Place& place, Reads* reads) {
  if (place.integer("kind") != 1) return elementwise(place, reads);
  reads->kind = Reads::kPart;
  for (const Dims& shape : place.in) reads->inputs.push_back(through(shape, 0, shape.rank, shape));
  reads->output = point(place.at);
}

void reads_reduce_max(const Place& place, Reads* reads) {
  const Dims& shape = place.in[0];
  const std::vector<int64_t>& axes = place.list("axes");
  const bool keep = place.integer("keepdims") != 0;
  Box box;
  for (int i = 0, next = 0; i < shape.rank; ++i) {
    const bool joined = contains(axes, i);
    box.push(joined ? all_of(shape[i]) : only(place.at[next]));
    if (!joined || keep) ++next;
  }
  reads->kind = Reads::kPart;
  reads->inputs = {box};
  reads->output = point(place.at);
}

void reads_reduce_max_grad(const Place& place, Reads* reads) {
  const Dims &shape = place.in[0], &other = place.in[1];
  const std::vector<int64_t>& axes = place.list("axes");
  Box box;
  Dims first;
  for (int i = 0; i < shape.rank; ++i) {
    box.push(contains(axes, i) ? all_of(shape[i]) : only(place.at[i]));
    first.push(other[i] == 1 ? 0 : place.at[i]);
  }
  reads->kind = Reads::kPart;
  reads->inputs = {box, point(first)};
  reads->output = box;
}

void reads_normalize(const Place& place, Reads* reads) {
  const int rank = place.at.rank;
  rows(place, rank - static_cast<int>(place.integer("trailing_axes")), rank, true, reads);
}

void reads_normalize_grad(const Place& place, Reads* reads) { reads_normalize(place, reads); }

void reads_softmax(const Place& place, Reads* reads) {
  rows(place, place.at.rank - 1, place.at.rank, true, reads);
}

void reads_mean_squared_error_grad(const Place& place, Reads* reads) {
  rows(place, 1, place.at.rank, false, reads);
}

void reads_sigmoid_cross_entropy_grad(const Place& place, Reads* reads) {
  rows(place, 1, place.at.rank, false, reads);
}

void reads_argmax_correct(const Place& place, Reads* reads) { example(place, reads); }
void reads_mean_squared_error(const Place& place, Reads* reads) { example(place, reads); }
void reads_sigmoid_cross_entropy(const Place& place, Reads* reads) { example(place, reads); }
void reads_softmax_cross_entropy(const Place& place, Reads* reads) { example(place, reads); }
void reads_softmax_cross_entropy_grad(const Place& place, Reads* reads) { example(place, reads); }

// Element by element, with operands that broadcast.
#define GVM_ELEMENTWISE(name) \
  void reads_##name(const Place& place, Reads* reads) { elementwise(place, reads); }
GVM_ELEMENTWISE(adam)
GVM_ELEMENTWISE(add)
GVM_ELEMENTWISE(batch_normalize)
GVM_ELEMENTWISE(batch_normalize_grad)
GVM_ELEMENTWISE(bias_add)
GVM_ELEMENTWISE(broadcast_to)
GVM_ELEMENTWISE(compare)
GVM_ELEMENTWISE(convert)
GVM_ELEMENTWISE(convert_grad)
GVM_ELEMENTWISE(div)
GVM_ELEMENTWISE(divide)
GVM_ELEMENTWISE(divide_by_count)
GVM_ELEMENTWISE(dropout)
GVM_ELEMENTWISE(example_count)
GVM_ELEMENTWISE(gradient_descent)
GVM_ELEMENTWISE(logical)
GVM_ELEMENTWISE(mask)
GVM_ELEMENTWISE(maximum)
GVM_ELEMENTWISE(minimum)
GVM_ELEMENTWISE(momentum)
GVM_ELEMENTWISE(mul)
GVM_ELEMENTWISE(relu)
GVM_ELEMENTWISE(relu_grad)
GVM_ELEMENTWISE(rmsprop)
GVM_ELEMENTWISE(select)
GVM_ELEMENTWISE(sgd)
GVM_ELEMENTWISE(sub)
GVM_ELEMENTWISE(unary)
#undef GVM_ELEMENTWISE

}  // namespace gvm
