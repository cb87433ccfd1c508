// The loops of optimizer kernels in plain C++.
#include "cpu/kernels.h"
#include "cpu/update.inc"

namespace gvm {

const UpdateKernels kUpdateScalar = {numerators, add_shifted, clamp, narrow_sums, nullptr};

}  // namespace gvm
