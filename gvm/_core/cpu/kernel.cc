#include "cpu/kernel.h"

#include <algorithm>
#include <atomic>

#include "cpu/strided.h"

namespace gvm {

IndexMap index_map(const Type& type, const Batch& batch) {
  if (batch.origin >= 0) return {kMaxElements, kMaxElements, batch.origin};
  const int axis = type.batch_axis();
  if (axis < 0) {
    const int64_t all = std::max<int64_t>(type.elements_per_example(), 1);
    return {all, all, 0};
  }
  const int64_t after = type.product(axis + 1, type.rank);
  return {std::max<int64_t>(batch.local * after, 1), batch.global * after, batch.offset * after};
}

void convert_tensor(const Call& call, const void* source, DType source_type, int fraction_bits_in,
                    const Tensor& out, Rounding rounding, uint32_t site) {
  ConvertSite where;
  where.shift = fraction_bits_in - out.type.fraction_bits;
  where.rounding = rounding;
  where.seed = call.seed;
  where.step = call.step;
  where.site = site;
  const int from = source_type == DType::i16 ? 0 : source_type == DType::i32 ? 1 : 2;
  const ConvertRun run = call.cpu->convert.run[from][out.type.dtype == DType::i16 ? 0 : 1];
  const IndexMap index = index_map(out.type, call.batch);
  const char* src = static_cast<const char*>(source);
  char* dst = static_cast<char*>(out.data);
  const int64_t src_bytes = dtype_bytes(source_type), dst_bytes = dtype_bytes(out.type.dtype);
  std::atomic<int64_t> clamps{0};
  for_ranges(call, out.elements, kGrain, [&](int64_t begin, int64_t end) {
    int64_t clamped = 0;
    while (begin < end) {
      const int64_t n = std::min(end - begin, index.run - begin % index.run);
      clamped += run(src + begin * src_bytes, n, where, static_cast<uint64_t>(index(begin)),
                     dst + begin * dst_bytes);
      begin += n;
    }
    clamps += clamped;
  });
  *call.clamps += clamps;
}

}  // namespace gvm
