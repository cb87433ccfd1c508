// What happens to exact sums: bias, Convert, and the place they go to.
#include <algorithm>
#include <cstring>

#include "cpu/gemm.h"

namespace gvm {

namespace {

// Copies or adds n exact sums.
void add_sums(const int64_t* from, int64_t n, bool accumulate, int64_t* to) {
  if (!accumulate) {
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof *to);
    return;
  }
  for (int64_t i = 0; i < n; ++i) to[i] += from[i];
}

}  // namespace

int64_t bias_at(const Epilogue& to, int64_t column) {
  const int64_t bias = to.bias_type == DType::i16 ? static_cast<const int16_t*>(to.bias)[column]
                                                  : static_cast<const int32_t*>(to.bias)[column];
  return static_cast<int64_t>(static_cast<uint64_t>(bias) << to.bias_shift);
}

int64_t put_sums(const Epilogue& to, const CpuKernels& cpu, const void* sums, DType type, int64_t n,
                 int64_t element) {
  if (to.sink != nullptr) {
    to.sink->take(static_cast<const int64_t*>(sums), n, element);
    return 0;
  }
  if (to.type == DType::i64) {
    add_sums(static_cast<const int64_t*>(sums), n, to.accumulate,
             static_cast<int64_t*>(to.data) + element);
    return 0;
  }
  const int64_t bytes = dtype_bytes(to.type);
  return convert_elements(convert_run(cpu, type, to.type), sums, dtype_bytes(type),
                          static_cast<char*>(to.data) + element * bytes, bytes, element, n,
                          to.convert, to.index);
}

ConvertRun convert_run(const CpuKernels& cpu, DType src, DType dst) {
  const int row = src == DType::i16 ? 0 : src == DType::i32 ? 1 : 2;
  return cpu.convert.run[row][dst == DType::i16 ? 0 : 1];
}

int64_t convert_elements(ConvertRun run, const void* src, int64_t src_bytes, void* dst,
                         int64_t dst_bytes, int64_t first, int64_t n, const ConvertSite& site,
                         const IndexMap& index) {
  const char* from = static_cast<const char*>(src);
  char* to = static_cast<char*>(dst);
  if (site.rounding == Rounding::nearest || site.shift <= 0) return run(from, n, site, 0, to);
  int64_t clamps = 0;
  while (n > 0) {
    const int64_t count = std::min(n, index.run - first % index.run);
    clamps += run(from, count, site, static_cast<uint64_t>(index(first)), to);
    from += count * src_bytes;
    to += count * dst_bytes;
    first += count;
    n -= count;
  }
  return clamps;
}

int64_t emit_sums(const Epilogue& to, const CpuKernels& cpu, int64_t* sums, int64_t n,
                  int64_t column, int64_t element) {
  for (int64_t j = 0; to.bias != nullptr && j < n; ++j) sums[j] += bias_at(to, column + j);
  return put_sums(to, cpu, sums, DType::i64, n, element);
}

}  // namespace gvm
