// Weighted sums in AVX-512.
#include "cpu/kernels.h"

#if GVM_X86_64

#include "cpu/weigh.inc"

namespace gvm {

const WeighKernels kWeighAvx512 = {run, split};

}  // namespace gvm

#endif
