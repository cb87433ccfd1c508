#include <atomic>

#include "cpu/strided.h"

namespace gvm {

namespace {

constexpr int64_t kChunk = 4096;

int64_t count_clamps(const UnaryTable& table, const int16_t* x, int64_t n) {
  int64_t clamps = 0;
  if (table.clamped.empty()) return clamps;
  if (table.clamps_at_ends) {
    const int low = table.low, high = table.high;
    int32_t outside = 0;  // of a chunk of fewer than 2^31
    for (int64_t i = 0; i < n; ++i) outside += (x[i] <= low) | (x[i] >= high);
    return outside;
  }
  for (int64_t i = 0; i < n; ++i) clamps += table.clamped[static_cast<uint16_t>(x[i])];
  return clamps;
}

template <typename T>
int64_t look_up(const UnaryTable& table, const std::vector<T>& values, const int16_t* x, int64_t n,
                T* out) {
  const int64_t clamps = count_clamps(table, x, n);
  const T* entries = values.data();
  for (int64_t i = 0; i < n; ++i) out[i] = entries[static_cast<uint16_t>(x[i])];
  return clamps;
}

// Elements [begin, end) through the table of 16 more bits and Convert. A clamped entry stands for a
// value beyond any draw: scaled by 2^16 it is clamped, and counted, there.
int64_t convert_entries(const Call& call, const UnaryTable& table, ConvertSite site,
                        const IndexMap& index, int64_t begin, int64_t end) {
  const int16_t* x = call.in[0].as<int16_t>();
  int16_t* out = call.out[0].as<int16_t>();
  const int32_t* entries = table.wide.data();
  const bool clamps = !table.clamped.empty();
  const ConvertRun run = call.cpu->convert.run[clamps ? 2 : 1][0];
  int32_t narrow[kChunk];
  int64_t wide[kChunk];
  int64_t clamped = 0;
  while (begin < end) {
    const int64_t n = std::min({end - begin, kChunk, index.run - begin % index.run});
    if (clamps) {
      for (int64_t i = 0; i < n; ++i) {
        const uint16_t q = static_cast<uint16_t>(x[begin + i]);
        wide[i] = entries[q] * (table.clamped[q] != 0 ? int64_t{65536} : int64_t{1});
      }
    } else {
      for (int64_t i = 0; i < n; ++i) narrow[i] = entries[static_cast<uint16_t>(x[begin + i])];
    }
    const void* source = clamps ? static_cast<const void*>(wide) : narrow;
    clamped += run(source, n, site, static_cast<uint64_t>(index(begin)), out + begin);
    begin += n;
  }
  return clamped;
}

Status run(const Call& call) {
  const Tensor& x = call.in[0];
  const Tensor& y = call.out[0];
  const int function = static_cast<int>(call.attr(0));
  const Rounding rounding = static_cast<Rounding>(call.attr(3));
  const bool nearest = rounding == Rounding::nearest;
  const int bits = nearest ? dtype_bits(y.type.dtype) : 32;
  const int out_bits = y.type.fraction_bits + (nearest ? 0 : 16);
  TableCache own;
  TableCache* const tables = call.tables != nullptr ? call.tables : &own;
  const UnaryTable* const table =
      tables->unary(function, x.type.fraction_bits, out_bits, bits, x.as<int16_t>(), x.elements);
  if (table == nullptr) {
    call.error->fail(Status::internal, "unary: no table of function %d", function);
    return Status::internal;
  }
  ConvertSite site;
  site.shift = 16;
  site.rounding = rounding;
  site.seed = call.seed;
  site.step = call.step;
  site.site = call.site;
  const IndexMap index = index_map(y.type, call.batch);
  std::atomic<int64_t> clamps{0};
  for_ranges(call, y.elements, kGrain, [&](int64_t begin, int64_t end) {
    const int16_t* q = x.as<int16_t>() + begin;
    const int64_t n = end - begin;
    if (!nearest) {
      clamps += convert_entries(call, *table, site, index, begin, end);
    } else if (bits == 16) {
      clamps += look_up(*table, table->narrow, q, n, y.as<int16_t>() + begin);
    } else {
      clamps += look_up(*table, table->wide, q, n, y.as<int32_t>() + begin);
    }
  });
  *call.clamps += clamps;
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_unary = {run, false, true, false};

}  // namespace gvm
