// Groups of normalize and its gradient: exact statistics of each, then every element by itself.
#pragma once

#include "cpu/normalization.h"
#include "cuda/kernel.h"

namespace gvm {

// The exact sum of a[i] * b[i] over elements [begin, end).
GVM_DEVICE_CODE Int128 device_sum_of_products(const Cells& a, const Cells& b, int64_t begin,
                                              int64_t end) {
  Int128 sum = {0, 0};
  for (int64_t i = begin; i < end; ++i) sum = add(sum, mul(a.get(i), b.get(i)));
  return sum;
}

GVM_DEVICE_CODE int64_t device_sum_of(const Cells& x, int64_t begin, int64_t end) {
  int64_t sum = 0;
  for (int64_t i = begin; i < end; ++i) sum += x.get(i);
  return sum;
}

// s, D, t and r of the n elements from `begin` on (numerics section 7).
GVM_DEVICE_CODE GroupRoot device_group_root(const Cells& x, int64_t begin, int64_t n, bool centred,
                                            UInt128 epsilon) {
  GroupRoot g;
  g.sum = centred ? device_sum_of(x, begin, begin + n) : 0;
  g.spread = sub(mul(device_sum_of_products(x, x, begin, begin + n), n), mul(g.sum, g.sum));
  g.spread = add(g.spread, to_signed(epsilon));
  g.shift = (2 * kRootBits - bit_length(to_unsigned(g.spread))) >> 1;
  const Int128 scaled = g.shift >= 0 ? shl(g.spread, 2 * g.shift) : shr(g.spread, -2 * g.shift);
  g.root = static_cast<uint32_t>(isqrt64(scaled.lo));
  return g;
}

// numerator * 2^places / root, as element i.
GVM_DEVICE_CODE int64_t root_quotient(const Site& site, Int128 numerator, int places, uint32_t root,
                                      int64_t i) {
  const int up = places > 0 ? places : 0, down = places < 0 ? -places : 0;
  return site.quotient(shl(numerator, up), shl(from_int64(root), down), i);
}

}  // namespace gvm
