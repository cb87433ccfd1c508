// Rows of sums and products in AVX-512.
#include "cpu/kernels.h"

#if GVM_X86_64

#include "cpu/rows.inc"

namespace gvm {

const RowKernels kRowsAvx512 = {sum, product, add, line};

}  // namespace gvm

#endif
