#include "cpu/binary.h"

namespace gvm {

namespace {
Status run(const Call& call) { return run_sum(call, true); }
}  // namespace

extern const Kernel kernel_sub = {run, false, true, false, true};

}  // namespace gvm
