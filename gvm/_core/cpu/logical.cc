#include "cpu/binary.h"

namespace gvm {

namespace {

enum { kFunction };
enum { kAnd, kOr, kXor };  // and not, of one operand

struct Function {
  int64_t function;
  uint8_t operator()(uint8_t a, uint8_t b) const {
    const int x = a != 0 ? 1 : 0, y = b != 0 ? 1 : 0;
    const int and_or = function == kAnd ? x & y : x | y;
    return static_cast<uint8_t>(function == kXor ? x ^ y : and_or);
  }
};

Status run(const Call& call) {
  const uint8_t* a = call.in[0].as<uint8_t>();
  if (call.inputs == 2) {
    binary<uint8_t>(call, Function{call.attr(kFunction)}, a, call.in[1].as<uint8_t>());
    return Status::ok;
  }
  uint8_t* out = call.out[0].as<uint8_t>();
  for_ranges(call, call.out[0].elements, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = a[i] == 0 ? 1 : 0;
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_logical = {run};

}  // namespace gvm
