// Convert in plain C++, straight from fixed.h and random.h: the definition that the vector ones
// equal, and what they call for shifts that no vector loop covers.
#include "cpu/kernels.h"

namespace gvm {

namespace {

template <typename Source, typename Target>
int64_t run(const void* src, int64_t n, const ConvertSite& site, uint64_t index, void* dst) {
  const Source* from = static_cast<const Source*>(src);
  Target* to = static_cast<Target*>(dst);
  constexpr int kBits = 8 * sizeof(Target);
  const int random_bits = site.rounding == Rounding::nearest ? 0 : convert_random_bits(site.shift);
  const Purpose purpose = purpose_of(site.rounding);
  int64_t clamps = 0;
  constexpr int64_t kChunk = 256;
  uint32_t words[kChunk];
  uint16_t halves[kChunk];
  for (int64_t first = 0; first < n; first += kChunk) {
    const int64_t count = n - first < kChunk ? n - first : kChunk;
    const uint64_t at = index + static_cast<uint64_t>(first);
    if (random_bits == 16) {
      fill_halves(site.seed, site.site, site.step, purpose, at, static_cast<uint64_t>(count),
                  halves);
    } else if (random_bits == 32) {
      fill_words(site.seed, site.site, site.step, purpose, at, static_cast<uint64_t>(count), words);
    }
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t r = random_bits == 16 ? halves[i] : random_bits == 32 ? words[i] : 0;
      const int64_t q = convert(from[first + i], site.shift, site.rounding, r, kBits, &clamps);
      to[first + i] = static_cast<Target>(site.relu && q < 0 ? 0 : q);
    }
  }
  return clamps;
}

void random_blocks(uint64_t seed, uint32_t site, uint64_t step, Purpose purpose, uint64_t first,
                   int64_t count, uint32_t* words) {
  fill_words(seed, site, step, purpose, 4 * first, 4 * static_cast<uint64_t>(count), words);
}

}  // namespace

const ConvertKernels kConvertScalar = {{{run<int16_t, int16_t>, run<int16_t, int32_t>},
                                        {run<int32_t, int16_t>, run<int32_t, int32_t>},
                                        {run<int64_t, int16_t>, run<int64_t, int32_t>}},
                                       random_blocks};

}  // namespace gvm
