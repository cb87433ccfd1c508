#include "cuda/binary.h"

namespace gvm {

enum { kFunction };
enum { kAnd, kOr, kXor };  // and not, of one operand

struct DeviceLogical {
  int64_t function;
  GVM_DEVICE_CODE int64_t operator()(int64_t a, int64_t b) const {
    const int x = a != 0 ? 1 : 0, y = b != 0 ? 1 : 0;
    return function == kAnd ? x & y : function == kOr ? x | y : x ^ y;
  }
};

static Status run_logical(const Call& call) {
  if (call.inputs == 2) return run_binary(call, DeviceLogical{call.attr(kFunction)});
  const Cells a = cells(call.in[0]), out = cells(call.out[0]);
  call.cuda->each(call.out[0].elements, GVM_EACH(int64_t i) { out.set(i, a.get(i) == 0 ? 1 : 0); });
  return Status::ok;
}

extern const Kernel cuda_kernel_logical;
const Kernel cuda_kernel_logical = {run_logical};

}  // namespace gvm
