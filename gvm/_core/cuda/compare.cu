#include "cuda/binary.h"

namespace gvm {

enum { kRelation };
enum { kEqual, kLess };  // and less or equal

// The sign of a * 2^shift - b, 0 <= shift <= 63: that of a - floor(b / 2^shift), or of the rest.
GVM_DEVICE_CODE int device_order(int64_t a, int64_t b, int shift) {
  const int64_t q = b >> shift;
  const bool rest = (static_cast<uint64_t>(b) & ((uint64_t{1} << shift) - 1)) != 0;
  if (a > q) return 1;
  return a < q || rest ? -1 : 0;
}

struct DeviceRelation {
  int64_t relation;
  int shift_a, shift_b;  // one of them is 0
  GVM_DEVICE_CODE int64_t operator()(int64_t a, int64_t b) const {
    const int sign = shift_b == 0 ? device_order(a, b, shift_a) : -device_order(b, a, shift_b);
    return relation == kEqual ? sign == 0 : relation == kLess ? sign < 0 : sign <= 0;
  }
};

static Status run_compare(const Call& call) {
  const int shift = call.in[1].type.fraction_bits - call.in[0].type.fraction_bits;
  // Magnitudes are at most 2^62: beyond 63 places the quotient stays -1 or 0.
  return run_binary(call, DeviceRelation{call.attr(kRelation), std::min(std::max(shift, 0), 63),
                                         std::min(std::max(-shift, 0), 63)});
}

extern const Kernel cuda_kernel_compare;
const Kernel cuda_kernel_compare = {run_compare};

}  // namespace gvm
