#include "cpu/binary.h"

namespace gvm {

namespace {
Status run(const Call& call) { return run_sum(call, false); }
}  // namespace

extern const Kernel kernel_add = {run, false, true, false, true};

}  // namespace gvm
