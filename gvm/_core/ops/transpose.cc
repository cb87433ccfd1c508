#include "op.h"

namespace gvm {

namespace {
enum { kPermutation };
}

bool infer_transpose(Check& check) {
  const Type& x = check.in[0];
  const std::vector<int64_t>& permutation = check.list(kPermutation);
  if (permutation.size() != static_cast<size_t>(x.rank)) {
    return check.fail(Status::bad_attribute,
                      "permutation must have the length of the rank, %d, received %zu", x.rank,
                      permutation.size());
  }
  bool seen[kMaxRank] = {};
  Type out = x;
  for (size_t i = 0; i < permutation.size(); ++i) {
    const int64_t axis = permutation[i];
    if (axis >= x.rank) {
      return check.fail(Status::bad_attribute,
                        "permutation must be below the rank of %d, received %lld", x.rank,
                        static_cast<long long>(axis));
    }
    if (seen[axis]) {
      return check.fail(Status::bad_attribute,
                        "permutation must have each axis once, received %lld twice",
                        static_cast<long long>(axis));
    }
    seen[axis] = true;
    out.dims[i] = x.dims[axis];
  }
  check.out[0] = out;
  return true;
}

}  // namespace gvm
