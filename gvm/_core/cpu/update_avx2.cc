// The loops of optimizer kernels in AVX2.
#include "cpu/kernels.h"

#if GVM_X86_64

#include "cpu/update.inc"

namespace gvm {

const UpdateKernels kUpdateAvx2 = {numerators, add_shifted, clamp, narrow_sums, nullptr};

}  // namespace gvm

#endif
