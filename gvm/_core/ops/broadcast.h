// Shape rules that several operators share: broadcasting, axes of reductions, and quotients whose
// numerator must fit two limbs.
#pragma once

#include <algorithm>
#include <vector>

#include "op.h"

namespace gvm {

// The shape of two operands broadcast as in NumPy: aligned at the right, equal or 1 or missing. A
// batch axis meets a batch axis, 1 or nothing.
inline bool broadcast_shapes(Check& check, const std::vector<int64_t>& a,
                             const std::vector<int64_t>& b, std::vector<int64_t>* out) {
  const size_t rank = std::max(a.size(), b.size());
  out->assign(rank, 1);
  int batch_axes = 0;
  for (size_t i = 0; i < rank; ++i) {
    const int64_t x = i < rank - a.size() ? 1 : a[i - (rank - a.size())];
    const int64_t y = i < rank - b.size() ? 1 : b[i - (rank - b.size())];
    if (x != y && x != 1 && y != 1) {
      if (x == kBatch || y == kBatch) {
        return check.fail(Status::bad_batch,
                          "the batch axis must meet the batch axis or 1, received %lld",
                          static_cast<long long>(x == kBatch ? y : x));
      }
      return check.fail(Status::bad_shape, "dimensions must broadcast, received %lld and %lld",
                        static_cast<long long>(x), static_cast<long long>(y));
    }
    (*out)[i] = x == 1 ? y : x;
    if ((*out)[i] == kBatch) ++batch_axes;
  }
  if (batch_axes > 1) {
    return check.fail(Status::bad_batch, "the batch axes of the operands must meet, received %d",
                      batch_axes);
  }
  return true;
}

// add and sub: F = max(Fa, Fb), both operands shifted left exactly; two partials give a partial.
inline bool infer_sum(Check& check) {
  const Type &a = check.in[0], &b = check.in[1];
  for (int i = 0; i < 2; ++i) {
    if (!check.require_dtype(i, {DType::i16, DType::i32, DType::i64})) return false;
  }
  if (a.partial != b.partial) {
    return check.fail(Status::bad_batch, "both inputs or none must be partial sums, received one");
  }
  if (a.partial && !check.require_same_shape(0, 1)) return false;
  std::vector<int64_t> dims;
  if (!broadcast_shapes(check, check.dims(0), check.dims(1), &dims)) return false;
  const int f = std::max(a.fraction_bits, b.fraction_bits);
  const uint64_t bound =
      bound_add(bound_shl(a.bound, f - a.fraction_bits), bound_shl(b.bound, f - b.fraction_bits));
  return check.set_exact(0, dims, f, bound, a.partial);
}

// A result that is one of two operands, element by element: both have one type, shapes broadcast.
inline bool infer_choice(Check& check, int first, int second) {
  const Type &a = check.in[static_cast<size_t>(first)], &b = check.in[static_cast<size_t>(second)];
  if (!check.require_not_partial() || !check.require_dtype(first, {DType::i16, DType::i32}) ||
      !check.require_dtype(second, {a.dtype})) {
    return false;
  }
  if (a.fraction_bits != b.fraction_bits) {
    return check.fail(Status::bad_type, "input %d must have %d fraction bits, received %d", second,
                      a.fraction_bits, b.fraction_bits);
  }
  std::vector<int64_t> dims;
  if (!broadcast_shapes(check, check.dims(first), check.dims(second), &dims)) return false;
  check.out[0] = make_type(a.dtype, a.fraction_bits, dims);
  check.out[0].bound = std::max(a.bound, b.bound);
  return true;
}

// A result of truth values.
inline bool set_boolean(Check& check, const std::vector<int64_t>& dims) {
  check.out[0] = make_type(DType::boolean, 0, dims);
  return true;
}

// convert_grad and relu_grad: the type of input 1, masked by input 0 of the same shape.
inline bool infer_masked(Check& check) {
  if (!check.require_not_partial() || !check.require_dtype(0, {DType::i16, DType::i32}) ||
      !check.require_dtype(1, {DType::i16, DType::i32, DType::i64}) ||
      !check.require_same_shape(0, 1)) {
    return false;
  }
  check.out[0] = check.in[1];
  return true;
}

// The axes of a reduction: increasing, and below the rank of input 0.
inline bool require_axes(Check& check, const std::vector<int64_t>& axes) {
  int64_t previous = -1;
  for (const int64_t axis : axes) {
    if (axis <= previous) {
      return check.fail(Status::bad_attribute, "axes must be increasing, received %lld after %lld",
                        static_cast<long long>(axis), static_cast<long long>(previous));
    }
    if (axis >= check.in[0].rank) {
      return check.fail(Status::bad_attribute, "axes must be below the rank of %d, received %lld",
                        check.in[0].rank, static_cast<long long>(axis));
    }
    previous = axis;
  }
  return true;
}

// Axes of a maximum: examples must not mix.
inline bool require_axes_without_batch(Check& check, const std::vector<int64_t>& axes) {
  if (!require_axes(check, axes)) return false;
  for (const int64_t axis : axes) {
    if (check.in[0].dims[axis] == kBatch) {
      return check.fail(Status::bad_batch, "axes must not have the batch axis, received %lld",
                        static_cast<long long>(axis));
    }
  }
  return true;
}

// One axis of input 0, along which examples must not mix.
inline bool require_axis_without_batch(Check& check, int64_t axis) {
  const Type& x = check.in[0];
  if (axis >= x.rank) {
    return check.fail(Status::bad_attribute, "axis must be below the rank of %d, received %lld",
                      x.rank, static_cast<long long>(axis));
  }
  if (x.dims[axis] == kBatch) {
    return check.fail(Status::bad_batch, "axis must not be the batch axis, received %lld",
                      static_cast<long long>(axis));
  }
  return true;
}

inline bool is_reduced(const std::vector<int64_t>& axes, int axis) {
  return std::find(axes.begin(), axes.end(), axis) != axes.end();
}

// The shape of input 0 with these axes at 1, or left out.
inline std::vector<int64_t> reduced_dims(const Check& check, const std::vector<int64_t>& axes,
                                         bool keepdims) {
  std::vector<int64_t> dims;
  for (int i = 0; i < check.in[0].rank; ++i) {
    if (!is_reduced(axes, i)) {
      dims.push_back(check.in[0].dims[i]);
    } else if (keepdims) {
      dims.push_back(1);
    }
  }
  return dims;
}

// A quotient's two sides stay within 2^126 after one of them takes the shift between the formats:
// numerator * 2^shift for shift >= 0, else denominator * 2^-shift.
inline bool require_quotient(Check& check, uint64_t numerator, uint64_t denominator, int shift) {
  const uint64_t shifted = shift >= 0 ? numerator : denominator;
  const int places = shift >= 0 ? shift : -shift;
  if (bit_length(shifted) + places <= 126) return true;
  return check.fail(Status::unproved_bound, "the %s must stay within 2^126, it may reach %d bits",
                    shift >= 0 ? "numerator" : "denominator", bit_length(shifted) + places);
}

}  // namespace gvm
