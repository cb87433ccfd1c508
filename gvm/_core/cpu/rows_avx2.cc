// Rows of sums and products in AVX2.
#include "cpu/kernels.h"

#if GVM_X86_64

#include "cpu/rows.inc"

namespace gvm {

const RowKernels kRowsAvx2 = {sum, product, add, line};

}  // namespace gvm

#endif
