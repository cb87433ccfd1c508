// Weighted sums in plain C++.
#include "cpu/kernels.h"
#include "cpu/weigh.inc"

namespace gvm {

const WeighKernels kWeighScalar = {run, split};

}  // namespace gvm
