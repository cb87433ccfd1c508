// What an element is computed from, for results that are sums, copies, or made element by element.
#include "ops/window.h"
#include "referee.h"

namespace gvm {

int64_t Dims::elements() const {
  int64_t product = 1;
  for (int i = 0; i < rank; ++i) product = saturating_mul(product, d[i]);
  return product;
}

Dims Dims::strides() const {
  Dims made;
  made.rank = rank;
  int64_t stride = 1;
  for (int i = rank - 1; i >= 0; --i) {
    made.d[i] = stride;
    stride *= d[i];
  }
  return made;
}

int64_t Dims::flat(const Dims& at) const {
  const Dims step = strides();
  int64_t index = 0;
  for (int i = 0; i < at.rank; ++i) index += at[i] * step[i];
  return index;
}

Dims Dims::unflat(int64_t index) const {
  Dims at;
  at.rank = rank;
  for (int i = rank - 1; i >= 0; --i) {
    at.d[i] = index % d[i];
    index /= d[i];
  }
  return at;
}

Dims Box::extents() const {
  Dims made;
  for (int i = 0; i < rank; ++i) made.push(along[i].count);
  return made;
}

int64_t Place::integer(const char* name) const { return attributes.get(op.attribute(name)); }

const std::vector<int64_t>& Place::list(const char* name) const {
  return attributes.list(op.attribute(name));
}

Range all_of(int64_t extent) { return {0, extent, 1}; }
Range only(int64_t index) { return {index, 1, 1}; }

Box point(const Dims& at) { return through(at, 0, 0, at); }

Box through(const Dims& at, int from, int to, const Dims& shape) {
  Box box;
  for (int i = 0; i < at.rank; ++i) box.push(i >= from && i < to ? all_of(shape[i]) : only(at[i]));
  return box;
}

void elementwise(const Place& place, Reads* reads) {
  reads->kind = Reads::kPart;
  for (const Dims& shape : place.in) {
    Box box;
    if (shape.rank > place.at.rank) {
      reads->kind = Reads::kRefused;
      return;
    }
    for (int i = 0; i < shape.rank; ++i) {
      box.push(only(shape[i] == 1 ? 0 : place.at[place.at.rank - shape.rank + i]));
    }
    reads->inputs.push_back(box);
  }
  reads->output = point(place.at);
}

void copied(int input, int64_t index, Reads* reads) {
  reads->kind = Reads::kSum;
  reads->factors = {Factor{input, index, {}}};
}

void nothing(Reads* reads) {
  reads->kind = Reads::kSum;
  reads->terms.push(0);
}

namespace {

bool contains(const std::vector<int64_t>& axes, int axis) {
  for (const int64_t a : axes) {
    if (a == axis) return true;
  }
  return false;
}

}  // namespace

// ---- Products

void reads_matmul(const Place& place, Reads* reads) {
  const Dims &a = place.in[0], &b = place.in[1], &at = place.at;
  const int m = place.integer("transpose_a") != 0 ? a.rank - 1 : a.rank - 2;
  const int k = 2 * a.rank - 3 - m;
  const int n = place.integer("transpose_b") != 0 ? b.rank - 2 : b.rank - 1;
  const int j = 2 * b.rank - 3 - n;
  const Dims of_a = a.strides(), of_b = b.strides();
  int64_t left = at[at.rank - 2] * of_a[m], right = at[at.rank - 1] * of_b[n];
  for (int i = 0; i + 2 < at.rank; ++i) {
    left += at[i] * of_a[i];
    if (b.rank > 2) right += at[i] * of_b[i];
  }
  reads->terms.push(a[k]);
  reads->factors = {Factor{0, left, {1, {of_a[k]}}}, Factor{1, right, {1, {of_b[j]}}}};
}

void reads_matmul_grad_weight(const Place& place, Reads* reads) {
  const Dims &a = place.in[0], &d = place.in[1];
  Dims of_a = a.strides(), of_d = d.strides();
  of_a.rank -= 1;
  of_d.rank -= 1;
  for (int i = 0; i + 1 < a.rank; ++i) reads->terms.push(a[i]);
  reads->factors = {Factor{0, place.at[0], of_a}, Factor{1, place.at[1], of_d}};
}

void reads_conv2d(const Place& place, Reads* reads) {
  const Dims &x = place.in[0], &w = place.in[1], &at = place.at;
  const Window2d g = make_window(x[1], x[2], w[0], w[1], place.list("strides"),
                                 place.list("padding"), place.list("dilation"));
  const int64_t row = g.h.first(at[1]), column = g.w.first(at[2]);
  const int64_t rows = g.h.last(at[1]) - row, columns = g.w.last(at[2]) - column;
  if (rows <= 0 || columns <= 0) return nothing(reads);
  const int64_t first = at[3] / (w[3] / place.integer("groups")) * w[2];
  const Dims of_x = x.strides(), of_w = w.strides();
  reads->terms = {3, {rows, columns, w[2]}};
  reads->factors = {
      Factor{0,
             x.flat({4,
                     {at[0], g.h.start(at[1]) + row * g.h.dilation,
                      g.w.start(at[2]) + column * g.w.dilation, first}}),
             {3, {g.h.dilation * of_x[1], g.w.dilation * of_x[2], 1}}},
      Factor{1, w.flat({4, {row, column, 0, at[3]}}), {3, {of_w[0], of_w[1], of_w[2]}}}};
}

void reads_conv2d_grad_weight(const Place& place, Reads* reads) {
  const Dims &x = place.in[0], &d = place.in[1], &at = place.at;
  const std::vector<int64_t>& kernel = place.list("kernel");
  const Window2d g = make_window(x[1], x[2], kernel[0], kernel[1], place.list("strides"),
                                 place.list("padding"), place.list("dilation"));
  const int64_t groups = place.integer("groups");
  const int64_t o = g.h.first_position(at[0]), p = g.w.first_position(at[1]);
  const int64_t rows = g.h.last_position(at[0]) - o, columns = g.w.last_position(at[1]) - p;
  if (rows <= 0 || columns <= 0) return nothing(reads);
  const int64_t channel = at[3] / (d[3] / groups) * (x[3] / groups) + at[2];
  const Dims of_x = x.strides(), of_d = d.strides();
  reads->terms = {3, {x[0], rows, columns}};
  reads->factors = {Factor{0,
                           x.flat({4,
                                   {0, g.h.start(o) + at[0] * g.h.dilation,
                                    g.w.start(p) + at[1] * g.w.dilation, channel}}),
                           {3, {of_x[0], g.h.stride * of_x[1], g.w.stride * of_x[2]}}},
                    Factor{1, d.flat({4, {0, o, p, at[3]}}), {3, {of_d[0], of_d[1], of_d[2]}}}};
}

namespace {

// The positions and elements of windows that read an index, by ascending element: both go in equal
// steps.
struct Covering {
  int64_t count = 0, position = 0, element = 0, position_step = 0, element_step = 0;
};

Covering covering(const WindowAxis& a, int64_t index) {
  Covering found;
  for (int64_t k = 0; k < a.window; ++k) {
    const int64_t from = index + a.before - k * a.dilation;
    if (from < 0 || from % a.stride != 0 || from / a.stride >= a.out()) continue;
    const int64_t o = from / a.stride;
    if (found.count == 0) {
      found.position = o;
      found.element = k;
    } else if (found.count == 1) {
      found.position_step = o - found.position;
      found.element_step = k - found.element;
    }
    ++found.count;
  }
  return found;
}

}  // namespace

void reads_conv2d_grad_input(const Place& place, Reads* reads) {
  const Dims &d = place.in[0], &w = place.in[1], &at = place.at;
  const std::vector<int64_t>& size = place.list("size");
  const Window2d g = make_window(size[0], size[1], w[0], w[1], place.list("strides"),
                                 place.list("padding"), place.list("dilation"));
  const int64_t group = at[3] / w[2], inner = at[3] % w[2];
  const int64_t filters = w[3] / place.integer("groups");
  const Covering row = covering(g.h, at[1]), column = covering(g.w, at[2]);
  if (row.count == 0 || column.count == 0) return nothing(reads);
  const Dims of_d = d.strides(), of_w = w.strides();
  reads->terms = {3, {row.count, column.count, filters}};
  reads->factors = {Factor{0,
                           d.flat({4, {at[0], row.position, column.position, group * filters}}),
                           {3, {row.position_step * of_d[1], column.position_step * of_d[2], 1}}},
                    Factor{1,
                           w.flat({4, {row.element, column.element, inner, group * filters}}),
                           {3, {row.element_step * of_w[0], column.element_step * of_w[1], 1}}}};
}

// ---- Sums

void reads_cumsum(const Place& place, Reads* reads) {
  const Dims &shape = place.in[0], &at = place.at;
  const int axis = static_cast<int>(place.integer("axis"));
  const int64_t skip = place.integer("exclusive"), step = shape.strides()[axis];
  const bool reverse = place.integer("reverse") != 0;
  reads->terms.push((reverse ? shape[axis] - at[axis] : at[axis] + 1) - skip);
  const int64_t base = shape.flat(at) + (reverse ? skip * step : -at[axis] * step);
  reads->factors = {Factor{0, base, {1, {step}}}};
}

void reads_reduce_sum(const Place& place, Reads* reads) {
  const Dims& shape = place.in[0];
  const std::vector<int64_t>& axes = place.list("axes");
  const bool keep = place.integer("keepdims") != 0;
  Dims first;
  for (int i = 0, next = 0; i < shape.rank; ++i) {
    const bool summed = contains(axes, i);
    first.push(summed ? 0 : place.at[next]);
    if (!summed || keep) ++next;
  }
  Factor factor{0, shape.flat(first), {}};
  for (const int64_t a : axes) {
    reads->terms.push(shape[static_cast<int>(a)]);
    factor.steps.push(shape.strides()[static_cast<int>(a)]);
  }
  reads->factors = {factor};
}

void reads_gather_grad(const Place& place, Reads* reads) {
  const Dims &delta = place.in[0], &indices = place.in[1];
  Dims start, steps = delta.strides();
  for (int i = 0; i < indices.rank; ++i) start.push(0);
  for (int i = 1; i < place.at.rank; ++i) start.push(place.at[i]);
  steps.rank = indices.rank;
  reads->terms = indices;
  reads->factors = {Factor{0, delta.flat(start), steps}};
  reads->chosen = true;
  reads->where = Factor{1, 0, indices.strides()};
  reads->equals = place.at[0];
}

// ---- Copies

void reads_gather(const Place& place, Reads* reads) {
  const Dims &table = place.in[0], &indices = place.in[1];
  Dims where, from;
  for (int i = 0; i < indices.rank; ++i) where.push(place.at[i]);
  int64_t row = 0;
  if (!place.peek(1, indices.flat(where), &row)) {
    reads->kind = Reads::kMissing;
    return;
  }
  if (row < 0 || row >= table[0]) {
    reads->kind = Reads::kRefused;
    return;
  }
  from.push(row);
  for (int i = indices.rank; i < place.at.rank; ++i) from.push(place.at[i]);
  copied(0, table.flat(from), reads);
}

void reads_concat(const Place& place, Reads* reads) {
  const int axis = static_cast<int>(place.integer("axis"));
  Dims at = place.at;
  for (size_t i = 0; i < place.in.size(); ++i) {
    if (at[axis] < place.in[i][axis]) {
      return copied(static_cast<int>(i), place.in[i].flat(at), reads);
    }
    at[axis] -= place.in[i][axis];
  }
}

void reads_pad(const Place& place, Reads* reads) {
  const std::vector<int64_t>& before = place.list("before");
  Dims at = place.at;
  for (int i = 0; i < at.rank; ++i) {
    at[i] -= before[static_cast<size_t>(i)];
    if (at[i] < 0 || at[i] >= place.in[0][i]) return nothing(reads);
  }
  copied(0, place.in[0].flat(at), reads);
}

void reads_reshape(const Place& place, Reads* reads) { copied(0, place.out.flat(place.at), reads); }

void reads_slice(const Place& place, Reads* reads) {
  const std::vector<int64_t>&begin = place.list("begin"), &steps = place.list("strides");
  Dims at = place.at;
  for (int i = 0; i < at.rank; ++i) {
    at[i] = begin[static_cast<size_t>(i)] + at[i] * steps[static_cast<size_t>(i)];
  }
  copied(0, place.in[0].flat(at), reads);
}

void reads_transpose(const Place& place, Reads* reads) {
  const std::vector<int64_t>& permutation = place.list("permutation");
  Dims at = place.at;
  for (int i = 0; i < at.rank; ++i) {
    at[static_cast<int>(permutation[static_cast<size_t>(i)])] = place.at[i];
  }
  copied(0, place.in[0].flat(at), reads);
}

void reads_of(const Place& place, Reads* reads) {
  switch (place.op.opcode) {
#define GVM_NO_ATTR
#define GVM_ATTR(name, is_list, minimum, maximum, shortest, longest)
#define GVM_OP(opcode, name, least, most, outputs, sites, attributes) \
  case opcode:                                                        \
    return reads_##name(place, reads);
#include "ops.inc"
#undef GVM_OP
#undef GVM_ATTR
#undef GVM_NO_ATTR
  }
}

}  // namespace gvm
