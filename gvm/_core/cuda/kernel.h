// What kernels of the device share: elements of any type, strided places, rounding sites.
//
// A kernel captures numbers and addresses on the device. One thread makes one element, or one row
// where elements depend on each other; sums that several threads add to are integers.
#pragma once

#include "cpu/strided.h"
#include "cuda/queue.h"
#include "random.h"

namespace gvm {

// The elements of a tensor, widened to 64 bits.
struct Cells {
  void* data;
  DType type;

  GVM_DEVICE_CODE int64_t get(int64_t i) const {
    switch (type) {
      case DType::i16:
        return static_cast<const int16_t*>(data)[i];
      case DType::i32:
        return static_cast<const int32_t*>(data)[i];
      case DType::i64:
        return static_cast<const int64_t*>(data)[i];
      default:
        return static_cast<const uint8_t*>(data)[i];
    }
  }
  GVM_DEVICE_CODE void set(int64_t i, int64_t v) const {
    switch (type) {
      case DType::i16:
        static_cast<int16_t*>(data)[i] = static_cast<int16_t>(v);
        break;
      case DType::i32:
        static_cast<int32_t*>(data)[i] = static_cast<int32_t>(v);
        break;
      case DType::i64:
        static_cast<int64_t*>(data)[i] = v;
        break;
      default:
        static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(v);
        break;
    }
  }
};

inline Cells cells(const Tensor& t) { return {t.data, t.type.dtype}; }

// Where element `element` of a nest, in row-major order, lies in operand `operand`.
template <int N>
GVM_DEVICE_CODE int64_t place(const Nest<N>& nest, int operand, int64_t element) {
  int64_t at = 0;
  for (int d = nest.rank - 1; d >= 0; --d) {
    const int64_t rest = d == 0 ? 0 : element / nest.dims[d];
    at += (element - rest * nest.dims[d]) * nest.strides[operand][d];
    element = rest;
  }
  return at;
}

// v * 2^shift modulo 2^64.
GVM_DEVICE_CODE int64_t shifted_left(int64_t v, int shift) {
  return static_cast<int64_t>(static_cast<uint64_t>(v) << shift);
}

// A rounding site of a call, for elements of one tensor.
struct Site {
  uint64_t seed, step;
  uint32_t site;
  Rounding rounding;
  int bits;
  IndexMap index;
  int64_t* clamps;

  // Convert of A, of which `shift` bits are discarded, as element `element`.
  GVM_DEVICE_CODE int64_t convert(int64_t A, int shift, int64_t element) const {
    const uint64_t at = static_cast<uint64_t>(index(element));
    int64_t clamped = 0;
    const int64_t q =
        gvm::convert(A, shift, rounding, random_for_convert(seed, site, step, rounding, shift, at),
                     bits, &clamped);
    count_clamps(clamps, clamped);
    return q;
  }

  // N / D, rounded, as element `element`. Sides of 64 bits are divided by the machine.
  GVM_DEVICE_CODE int64_t quotient(Int128 N, Int128 D, int64_t element) const {
    const uint32_t r =
        random_for_quotient(seed, site, step, rounding, static_cast<uint64_t>(index(element)));
    int64_t clamped = 0, q = 0;
    if (fits_int64(N) && fits_int64(D) && N.lo != uint64_t{1} << 63) {
      q = gvm::quotient(static_cast<int64_t>(N.lo), static_cast<int64_t>(D.lo), rounding, r, bits,
                        &clamped);
    } else {
      q = gvm::quotient(N, D, rounding, r, bits, &clamped);
    }
    count_clamps(clamps, clamped);
    return q;
  }
};

inline Site make_site(const Call& call, const Tensor& out, Rounding rounding, uint32_t site) {
  return {call.seed,
          call.step,
          site,
          rounding,
          dtype_bits(out.type.dtype),
          index_map(out.type, call.batch),
          call.cuda->counter(call.clamps)};
}

// The exact result of an operator on its way to out[0], through bias, Convert and ReLU where the
// planner has fused them behind it.
struct Exact {
  Cells out, bias;
  Site site;
  int64_t columns;  // of the last axis, which the bias runs along
  int bias_shift, shift;
  bool has_bias, converts, relu;

  GVM_DEVICE_CODE void put(int64_t element, int64_t sum) const {
    if (!converts) {
      out.set(element, sum);
      return;
    }
    if (has_bias) {
      sum = static_cast<int64_t>(
          static_cast<uint64_t>(sum) +
          static_cast<uint64_t>(shifted_left(bias.get(element % columns), bias_shift)));
    }
    const int64_t q = site.convert(sum, shift, element);
    out.set(element, relu && q < 0 ? 0 : q);
  }
};

inline Exact make_exact(const Call& call) {
  const Tensor& out = call.out[0];
  Exact e = {};
  e.out = cells(out);
  if (call.fused == nullptr) return e;
  const Fused& fused = *call.fused;
  e.converts = true;
  e.relu = fused.relu;
  e.shift = fused.fraction_bits_in - out.type.fraction_bits;
  e.site = make_site(call, out, fused.rounding, fused.site);
  if (fused.bias != nullptr) {
    e.has_bias = true;
    e.bias = cells(*fused.bias);
    e.bias_shift = fused.fraction_bits_in - fused.bias->type.fraction_bits;
    e.columns = out.dims[out.type.rank - 1];
  }
  return e;
}

// F bits of a result with `to` from a number with `from`: 2^up / 2^down, one of them 1.
struct Rescale {
  int up, down;
};

inline Rescale rescale(int from, int to) {
  return {std::max(to - from, 0), std::max(from - to, 0)};
}

}  // namespace gvm
