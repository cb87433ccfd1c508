// Weighted sums in AVX2.
#include "cpu/kernels.h"

#if GVM_X86_64

#include "cpu/weigh.inc"

namespace gvm {

const WeighKernels kWeighAvx2 = {run, split};

}  // namespace gvm

#endif
