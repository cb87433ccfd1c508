// Every convert kernel against fixed.h and random.h, element by element.
#include <cstdio>
#include <cstring>
#include <vector>

#include "cpu/dispatch.h"

namespace {

using gvm::ConvertSite;
using gvm::CpuKernels;
using gvm::CpuLevel;
using gvm::Rounding;

int failures = 0;

// A generator for test data only.
struct Mix {
  uint64_t state;
  uint64_t next() {
    state += 0x9E3779B97F4A7C15u;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  // Of all sizes, extremes among them.
  int64_t number(int bits) {
    const uint64_t kind = next() % 16;
    const int64_t max = gvm::limit_max(bits), min = gvm::limit_min(bits);
    if (kind == 0) return min;
    if (kind == 1) return max;
    if (kind == 2) return static_cast<int64_t>(next() % 5) - 2;
    if (kind == 3) return min + static_cast<int64_t>(next() % 4);
    if (kind == 4) {  // near a tie or a power of two
      const int64_t power = static_cast<int64_t>(uint64_t{1} << (next() % (bits - 1)));
      const int64_t v = power + static_cast<int64_t>(next() % 3) - 1;
      return next() % 2 == 0 ? v : -v;
    }
    return static_cast<int64_t>(next()) >> (64 - bits + static_cast<int>(next() % bits));
  }
};

template <typename Source, typename Target>
void compare(const CpuKernels& cpu, const ConvertSite& site, int64_t n, uint64_t index, Mix& mix) {
  constexpr int kBits = 8 * sizeof(Target);
  std::vector<Source> source(static_cast<size_t>(n));
  for (Source& v : source) v = static_cast<Source>(mix.number(8 * sizeof(Source)));
  const Target guard = 0x5a5a;
  std::vector<Target> got(static_cast<size_t>(n) + 2, guard), want = got;
  int64_t want_clamps = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t r = gvm::random_for_convert(site.seed, site.site, site.step, site.rounding,
                                               site.shift, index + static_cast<uint64_t>(i));
    const int64_t q = gvm::convert(source[static_cast<size_t>(i)], site.shift, site.rounding, r,
                                   kBits, &want_clamps);
    want[static_cast<size_t>(i) + 1] = static_cast<Target>(site.relu && q < 0 ? 0 : q);
  }
  const int row = sizeof(Source) == 2 ? 0 : sizeof(Source) == 4 ? 1 : 2;
  const gvm::ConvertRun run = cpu.convert.run[row][sizeof(Target) == 2 ? 0 : 1];
  const int64_t clamps = run(source.data(), n, site, index, got.data() + 1);
  bool same = clamps == want_clamps && got == want;
  if (same && n > 0 && sizeof(Source) == sizeof(Target)) {
    run(source.data(), n, site, index, source.data());
    same =
        std::memcmp(source.data(), want.data() + 1, static_cast<size_t>(n) * sizeof(Target)) == 0;
  }
  if (same) return;
  ++failures;
  std::printf("convert %s, %d to %d bits: shift %d, rounding %d, n %lld, index %llu: differs\n",
              gvm::cpu_level_name(cpu.level), static_cast<int>(8 * sizeof(Source)), kBits,
              site.shift, static_cast<int>(site.rounding), static_cast<long long>(n),
              static_cast<unsigned long long>(index));
}

void test_convert(const CpuKernels& cpu) {
  Mix mix{7};
  std::vector<int> shifts;
  for (int s = -66; s <= 130; ++s) shifts.push_back(s);
  const int64_t lengths[] = {0, 1, 5, 7, 8, 15, 16, 17, 63, 130};
  for (const int shift : shifts) {
    for (int mode = 0; mode < 5; ++mode) {
      ConvertSite site;
      site.shift = shift;
      site.rounding = static_cast<Rounding>(mode);
      site.seed = mix.next();
      site.step = mix.next() >> 8;
      site.site = static_cast<uint32_t>(mix.next() >> 40);
      site.relu = mix.next() % 2 == 0;
      const int64_t n = lengths[mix.next() % 10];
      const uint64_t index = mix.next() % 1000;
      compare<int16_t, int16_t>(cpu, site, n, index, mix);
      compare<int16_t, int32_t>(cpu, site, n, index, mix);
      compare<int32_t, int16_t>(cpu, site, n, index, mix);
      compare<int32_t, int32_t>(cpu, site, n, index, mix);
      compare<int64_t, int16_t>(cpu, site, n, index, mix);
      compare<int64_t, int32_t>(cpu, site, n, index, mix);
    }
  }
  // Longer than a chunk, from every place in a block, across the carry of the block number.
  for (const int shift : {3, 16, 17, 32, 40}) {
    for (uint64_t place = 0; place < 9; ++place) {
      ConvertSite site;
      site.shift = shift;
      site.rounding = Rounding::backward;
      site.seed = 0x123456789abcdef0u;
      site.step = uint64_t{1} << 40;
      site.site = 5;
      compare<int32_t, int16_t>(cpu, site, 1100, place, mix);
      compare<int64_t, int16_t>(cpu, site, 1100, (uint64_t{1} << 35) - 500 + place, mix);
      compare<int64_t, int32_t>(cpu, site, 700, (uint64_t{1} << 34) - 300 + place, mix);
      compare<int64_t, int16_t>(cpu, site, 100, gvm::kIndexLimit - 200 + place, mix);
    }
  }
}

// Every value and every random half-word of a narrow case: nothing is left to luck.
void test_exhaustive(const CpuKernels& cpu) {
  for (const int shift : {1, 4, 9, 16}) {
    std::vector<int16_t> all(65536);
    for (int i = 0; i < 65536; ++i) all[static_cast<size_t>(i)] = static_cast<int16_t>(i - 32768);
    for (const Rounding rounding : {Rounding::nearest, Rounding::forward}) {
      ConvertSite site;
      site.shift = shift;
      site.rounding = rounding;
      std::vector<int16_t> got(all.size());
      int64_t want_clamps = 0;
      const int64_t clamps = cpu.convert.run[0][0](all.data(), 65536, site, 3, got.data());
      bool same = true;
      for (size_t i = 0; i < all.size(); ++i) {
        const uint32_t r = gvm::random_for_convert(0, 0, 0, rounding, shift, i + 3);
        same = same && got[i] == gvm::convert(all[i], shift, rounding, r, 16, &want_clamps);
      }
      if (!same || clamps != want_clamps) {
        ++failures;
        std::printf("convert %s: all i16, shift %d: differs\n", gvm::cpu_level_name(cpu.level),
                    shift);
      }
    }
  }
}

void test_random_blocks(const CpuKernels& cpu) {
  constexpr uint64_t carry = uint64_t{1} << 32;  // of the block number
  for (const uint64_t first : {uint64_t{0}, uint64_t{3}, carry - 5, carry - 37, carry - 64}) {
    for (const int64_t count : {1, 3, 8, 13, 25, 32, 33, 64, 77, 200}) {
      std::vector<uint32_t> got(static_cast<size_t>(4 * count) + 1, 77), want = got;
      for (int64_t i = 0; i < 4 * count; ++i) {
        want[static_cast<size_t>(i)] = gvm::random_word32(42, 9, 1u << 20, gvm::Purpose::dropout,
                                                          4 * first + static_cast<uint64_t>(i));
      }
      cpu.convert.random_blocks(42, 9, 1u << 20, gvm::Purpose::dropout, first, count, got.data());
      if (got != want) {
        ++failures;
        std::printf("random_blocks %s: first %llu, count %lld: differs\n",
                    gvm::cpu_level_name(cpu.level), static_cast<unsigned long long>(first),
                    static_cast<long long>(count));
      }
    }
  }
}

void test_levels() {
  bool known = true;
  CpuLevel level = CpuLevel::scalar;
  for (int best = static_cast<int>(gvm::detect_cpu()); best >= 0; --best) {
    const CpuLevel wanted = static_cast<CpuLevel>(best);
    known = known && gvm::parse_cpu_level(gvm::cpu_level_name(wanted), &level) && level == wanted;
  }
  if (!known || gvm::parse_cpu_level(GVM_X86_64 ? "neon" : "avx2", &level) ||
      gvm::parse_cpu_level("AVX2", &level) || gvm::parse_cpu_level("", &level)) {
    ++failures;
    std::printf("parse_cpu_level: wrong\n");
  }
}

}  // namespace

int main() {
  test_levels();
  for (int level = 0; level <= static_cast<int>(gvm::detect_cpu()); ++level) {
    const CpuKernels& cpu = gvm::cpu_kernels(static_cast<CpuLevel>(level));
    std::printf("convert_test: %s\n", gvm::cpu_level_name(cpu.level));
    test_convert(cpu);
    test_exhaustive(cpu);
    test_random_blocks(cpu);
  }
  return failures == 0 ? 0 : 1;
}
