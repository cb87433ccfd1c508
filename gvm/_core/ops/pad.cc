#include "op.h"

namespace gvm {

namespace {
enum { kBefore, kAfter };
}

bool infer_pad(Check& check) {
  const Type& x = check.in[0];
  const std::vector<int64_t>&before = check.list(kBefore), &after = check.list(kAfter);
  const size_t rank = static_cast<size_t>(x.rank);
  if (before.size() != rank || after.size() != rank) {
    return check.fail(Status::bad_attribute,
                      "before and after must have the length of the rank, %d, received %zu and %zu",
                      x.rank, before.size(), after.size());
  }
  Type out = x;
  for (size_t i = 0; i < rank; ++i) {
    if (x.dims[i] != kBatch) {
      out.dims[i] = x.dims[i] + before[i] + after[i];
    } else if (before[i] != 0 || after[i] != 0) {
      return check.fail(Status::bad_batch,
                        "the batch axis must have no border, received %lld and %lld",
                        static_cast<long long>(before[i]), static_cast<long long>(after[i]));
    }
  }
  check.out[0] = out;
  return true;
}

}  // namespace gvm
