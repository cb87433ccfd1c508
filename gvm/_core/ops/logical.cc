#include "ops/broadcast.h"

namespace gvm {

namespace {
enum { kFunction };
constexpr int64_t kNot = 3;
}  // namespace

bool infer_logical(Check& check) {
  const size_t operands = check.attr(kFunction) == kNot ? 1 : 2;
  if (check.in.size() != operands) {
    return check.fail(Status::bad_graph, "function %lld must have %zu inputs, received %zu",
                      static_cast<long long>(check.attr(kFunction)), operands, check.in.size());
  }
  std::vector<int64_t> dims = check.dims(0);
  for (size_t i = 0; i < operands; ++i) {
    if (!check.require_dtype(static_cast<int>(i), {DType::boolean})) return false;
  }
  if (operands == 2 && !broadcast_shapes(check, check.dims(0), check.dims(1), &dims)) return false;
  return set_boolean(check, dims);
}

}  // namespace gvm
