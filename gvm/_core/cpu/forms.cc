// The forms of products (cpu/form.h): every operand is read once.
#include "cpu/convolution.h"
#include "cpu/form.h"

namespace gvm {

namespace {

using Pairs = std::vector<Pair>;

Pairs pairs(int64_t count) { return Pairs(static_cast<size_t>(count)); }

Pair dot(const Pairs& a, const Pairs& b) {
  Pair sum;
  for (size_t i = 0; i < a.size(); ++i) sum = sum + a[i] * b[i];
  return sum;
}

// to[i] += x * from[i] for i < n.
void add_times(Pair x, const Pair* from, int64_t n, Pair* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = to[i] + x * from[i];
}

// Both ends of a window along one axis: where an element of the window reads the images from a
// position, that is (element, position, pixel).
template <typename F>
void each_read(const WindowAxis& axis, F f) {
  for (int64_t k = 0; k < axis.window; ++k) {
    for (int64_t o = axis.first_position(k); o < axis.last_position(k); ++o) {
      f(k, o, axis.start(o) + k * axis.dilation);
    }
  }
}

// [kh, kw, n] numbers q to an image [rows, columns, n] of what multiplies each pixel of the images
// (to_pixels), or each position: sums of q, weighted by the other end of the window.
Pairs image_of(const Window2d& g, bool to_pixels, const Pairs& q, int64_t n, const Pairs& row,
               const Pairs& column) {
  const int64_t height = to_pixels ? g.h.in : g.h.out(), width = to_pixels ? g.w.in : g.w.out();
  const int64_t line = g.h.window * n;
  Pairs part = pairs(width * line), image = pairs(height * width * n);
  each_read(g.w, [&](int64_t s, int64_t position, int64_t pixel) {
    const Pair weight = column[static_cast<size_t>(to_pixels ? position : pixel)];
    Pair* const to = &part[static_cast<size_t>((to_pixels ? pixel : position) * line)];
    for (int64_t r = 0; r < g.h.window; ++r) {
      add_times(weight, &q[static_cast<size_t>((r * g.w.window + s) * n)], n, to + r * n);
    }
  });
  each_read(g.h, [&](int64_t r, int64_t position, int64_t pixel) {
    const Pair weight = row[static_cast<size_t>(to_pixels ? position : pixel)];
    Pair* const to = &image[static_cast<size_t>((to_pixels ? pixel : position) * width * n)];
    for (int64_t i = 0; i < width; ++i) {
      add_times(weight, &part[static_cast<size_t>(i * line + r * n)], n, to + i * n);
    }
  });
  return image;
}

// Images, each with its weight, times one image of numbers.
Pair weigh_images(const Call& call, const Tensor& images, const Pairs& image, const Pairs& batch) {
  const int64_t size = static_cast<int64_t>(image.size());
  Pairs sums = pairs(images.dims[0]);
  weigh_lines(call, images.as<int16_t>(), size, 1, images.dims[0], size, image.data(), sums.data());
  return dot(sums, batch);
}

// The last axis of a tensor, weighted.
Pairs weigh_last(const Call& call, const Tensor& t, const Pairs& weights) {
  const int64_t n = static_cast<int64_t>(weights.size());
  Pairs sums = pairs(t.elements / n);
  weigh_lines(call, t.as<int16_t>(), n, 1, t.elements / n, n, weights.data(), sums.data());
  return sums;
}

}  // namespace

bool matmul_form(const Call& call, const Weights& w, Pair* value) {
  const Tensor &a = call.in[0], &b = call.in[1];
  const bool turned_a = call.attr(0) == 1, turned_b = call.attr(1) == 1;
  const int a_rank = a.type.rank, b_rank = b.type.rank;
  const int64_t m = a.dims[a_rank - (turned_a ? 1 : 2)];
  const int64_t k = a.dims[a_rank - (turned_a ? 2 : 1)];
  const int64_t n = b.dims[b_rank - (turned_b ? 2 : 1)];
  int64_t matrices = 1;
  for (int i = 0; i < a_rank - 2; ++i) matrices *= a.dims[i];
  Pairs terms = pairs(k), sums = pairs(m);
  RowWeights rows(w, 0);
  *value = {};
  for (int64_t i = 0; i < matrices; ++i) {
    if (i == 0 || b_rank != 2) {
      weigh_lines(call, b.as<int16_t>() + i * k * n, turned_b ? 1 : n, turned_b ? k : 1, k, n,
                  w.axis[w.rank - 1].data(), terms.data());
    }
    weigh_lines(call, a.as<int16_t>() + i * m * k, turned_a ? 1 : k, turned_a ? m : 1, m, k,
                terms.data(), sums.data());
    for (const Pair& sum : sums) *value = *value + rows.next() * sum;
  }
  return true;
}

bool matmul_grad_weight_form(const Call& call, const Weights& w, Pair* value) {
  *value = dot(weigh_last(call, call.in[0], w.axis[0]), weigh_last(call, call.in[1], w.axis[1]));
  return true;
}

bool conv2d_form(const Call& call, const Weights& w, Pair* value) {
  const Tensor &x = call.in[0], &kernel = call.in[1];
  const Convolution c = make_convolution(*call.attributes, x.dims[1], x.dims[2], x.dims[3],
                                         kernel.dims[0], kernel.dims[1], kernel.dims[3]);
  if (c.groups != 1) return false;
  const Pairs q = weigh_last(call, kernel, w.axis[3]);
  const Pairs image = image_of(c.window, true, q, c.channels, w.axis[1], w.axis[2]);
  *value = weigh_images(call, x, image, w.axis[0]);
  return true;
}

bool conv2d_grad_input_form(const Call& call, const Weights& w, Pair* value) {
  const Tensor &d = call.in[0], &kernel = call.in[1];
  const Convolution c = make_convolution(*call.attributes, w.dims[1], w.dims[2], w.dims[3],
                                         kernel.dims[0], kernel.dims[1], kernel.dims[3]);
  if (c.groups != 1) return false;
  const int64_t elements = c.window.elements();
  Pairs q = pairs(elements * c.filters);
  for (int64_t i = 0; i < elements; ++i) {
    weigh_lines(call, kernel.as<int16_t>() + i * c.channels * c.filters, 1, c.filters, c.filters,
                c.channels, w.axis[3].data(), &q[static_cast<size_t>(i * c.filters)]);
  }
  const Pairs image = image_of(c.window, false, q, c.filters, w.axis[1], w.axis[2]);
  *value = weigh_images(call, d, image, w.axis[0]);
  return true;
}

bool conv2d_grad_weight_form(const Call& call, const Weights& w, Pair* value) {
  const Tensor &x = call.in[0], &d = call.in[1];
  const Convolution c = make_convolution(*call.attributes, x.dims[1], x.dims[2], x.dims[3],
                                         w.dims[0], w.dims[1], w.dims[3]);
  if (c.groups != 1) return false;
  const WindowAxis &h = c.window.h, &v = c.window.w;
  const Pairs pixels = weigh_last(call, x, w.axis[2]), deltas = weigh_last(call, d, w.axis[3]);
  // Windows over one image after the other, first along its rows.
  *value = {};
  for (int64_t image = 0; image < x.dims[0]; ++image) {
    const Pair* const from = &pixels[static_cast<size_t>(image * h.in * v.in)];
    Pairs lines = pairs(h.in * v.out()), sums = pairs(h.out() * v.out());
    each_read(v, [&](int64_t s, int64_t position, int64_t pixel) {
      for (int64_t i = 0; i < h.in; ++i) {
        Pair& to = lines[static_cast<size_t>(i * v.out() + position)];
        to = to + w.axis[1][static_cast<size_t>(s)] * from[i * v.in + pixel];
      }
    });
    each_read(h, [&](int64_t r, int64_t position, int64_t pixel) {
      add_times(w.axis[0][static_cast<size_t>(r)], &lines[static_cast<size_t>(pixel * v.out())],
                v.out(), &sums[static_cast<size_t>(position * v.out())]);
    });
    const int64_t size = h.out() * v.out();
    for (int64_t i = 0; i < size; ++i) {
      *value =
          *value + sums[static_cast<size_t>(i)] * deltas[static_cast<size_t>(image * size + i)];
    }
  }
  return true;
}

}  // namespace gvm
