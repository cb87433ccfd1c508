// Rows of sums and products in plain C++.
#include "cpu/kernels.h"
#include "cpu/rows.inc"

namespace gvm {

const RowKernels kRowsScalar = {sum, product, add, line};

}  // namespace gvm
