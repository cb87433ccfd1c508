#include "cpu/copy.h"
#include "cpu/table.h"

namespace gvm {

namespace {

Status run(const Call& call) {
  const Tensor &x = call.in[0], &indices = call.in[1];
  if (!check_indices(call, indices, x.dims[0])) return Status::bad_input;
  const int64_t bytes = x.elements / x.dims[0] * dtype_bytes(x.type.dtype);
  const int32_t* index = indices.as<int32_t>();
  const char* from = x.as<char>();
  char* to = call.out[0].as<char>();
  for_ranges(call, indices.elements, kGrain / bytes + 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(to + i * bytes, from + index[i] * bytes, static_cast<size_t>(bytes));
    }
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_gather = {run};

}  // namespace gvm
