// The loops of optimizer kernels in AVX-512.
#include "cpu/kernels.h"

#if GVM_X86_64

#include "cpu/update.inc"

namespace gvm {

const UpdateKernels kUpdateAvx512 = {numerators, add_shifted, clamp};

}  // namespace gvm

#endif
