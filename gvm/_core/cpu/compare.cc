#include "cpu/binary.h"

namespace gvm {

namespace {

enum { kRelation };
enum { kEqual, kLess };  // and less or equal

// The sign of a * 2^shift - b, 0 <= shift <= 63. With b = q * 2^shift + r, 0 <= r < 2^shift, it is
// that of a - q, or that of -r where a = q: no sum and no shifted value leaves 64 bits.
inline int order(int64_t a, int64_t b, int shift) {
  const int64_t q = b >> shift;
  const bool rest = (static_cast<uint64_t>(b) & ((uint64_t{1} << shift) - 1)) != 0;
  return (a > q ? 1 : 0) - ((a < q) | ((a == q) & rest) ? 1 : 0);
}

struct Relation {
  int64_t relation;
  int shift_a, shift_b;  // one of them is 0
  uint8_t operator()(int64_t a, int64_t b) const {
    const int sign = shift_b == 0 ? order(a, b, shift_a) : -order(b, a, shift_b);
    const bool holds = relation == kEqual ? sign == 0 : relation == kLess ? sign < 0 : sign <= 0;
    return holds ? 1 : 0;
  }
};

Status run(const Call& call) {
  const Tensor &a = call.in[0], &b = call.in[1];
  const int shift = b.type.fraction_bits - a.type.fraction_bits;
  // Magnitudes are at most 2^62: beyond 63 places the quotient stays -1 or 0.
  const Relation relation = {call.attr(kRelation), std::min(std::max(shift, 0), 63),
                             std::min(std::max(-shift, 0), 63)};
  with_integer(a.type.dtype, [&](auto zero_a) {
    with_integer(b.type.dtype, [&](auto zero_b) {
      binary<uint8_t>(call, relation, a.as<decltype(zero_a)>(), b.as<decltype(zero_b)>());
    });
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_compare = {run};

}  // namespace gvm
