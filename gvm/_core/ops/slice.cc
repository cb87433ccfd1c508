#include "op.h"

namespace gvm {

namespace {
enum { kBegin, kEnd, kStrides };
}

bool infer_slice(Check& check) {
  const Type& x = check.in[0];
  const std::vector<int64_t>&begin = check.list(kBegin), &end = check.list(kEnd),
        &strides = check.list(kStrides);
  const size_t rank = static_cast<size_t>(x.rank);
  if (begin.size() != rank || end.size() != rank || strides.size() != rank) {
    return check.fail(Status::bad_attribute,
                      "begin, end and strides must have the length of the rank, %d, received %zu, "
                      "%zu and %zu",
                      x.rank, begin.size(), end.size(), strides.size());
  }
  Type out = x;
  for (size_t i = 0; i < rank; ++i) {
    const int64_t size = x.dims[i];
    if (size == kBatch) {
      if (begin[i] == 0 && end[i] == kBatch && strides[i] == 1) continue;
      return check.fail(Status::bad_batch,
                        "the batch axis must be whole, begin 0, end -1, stride 1, received %lld, "
                        "%lld, %lld",
                        static_cast<long long>(begin[i]), static_cast<long long>(end[i]),
                        static_cast<long long>(strides[i]));
    }
    if (end[i] <= begin[i] || end[i] > size) {
      return check.fail(Status::bad_attribute, "end must be in [%lld, %lld], received %lld",
                        static_cast<long long>(begin[i] + 1), static_cast<long long>(size),
                        static_cast<long long>(end[i]));
    }
    out.dims[i] = (end[i] - begin[i] - 1) / strides[i] + 1;
  }
  check.out[0] = out;
  return true;
}

}  // namespace gvm
