// The velocity kernels against fixed.h: numerators of all sizes, and random words at and beside the
// place where rounding turns, so that neither the products nor the division are left out.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/momentum.h"

namespace {

using gvm::CpuKernels;
using gvm::Int128;
using gvm::Rounding;
using gvm::VelocityTerms;

int failures = 0;
int64_t taken = 0, left = 0;  // calls that the products could make, and that they could not

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
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
  // Of at most `bits` bits, often fewer and often at the edge.
  int64_t number(int bits) {
    const int64_t edge = int64_t{1} << bits;
    switch (below(6)) {
      case 0:
        return edge - 1 - below(3);
      case 1:
        return -edge + below(3);
      case 2:
        return below(3) - 1;
      default:
        return static_cast<int64_t>(next()) >> (63 - below(bits + 1));
    }
  }
};

// r * divisor = remainder * 2^32, about: where stochastic rounding turns.
uint32_t turning_point(Int128 numerator, Int128 divisor, int64_t beside) {
  int64_t clamps = 0;
  const Int128 scaled = gvm::shl(numerator, 32);
  // The quotient's low 32 bits; |numerator| / divisor < 2^31 where this is of use.
  const int64_t whole = gvm::quotient(scaled, divisor, Rounding::nearest, 0, 64, &clamps);
  return static_cast<uint32_t>(static_cast<uint64_t>(whole + beside));
}

template <typename V>
void check(const CpuKernels& cpu, Mix& mix, int64_t count, int64_t rate, int64_t momentum, int bits,
           int64_t t, Rounding rounding, int g_bits, int v_bits, int64_t n) {
  const gvm::Momentum of(count, rate, momentum, bits, t, rounding);
  std::vector<int64_t> g;
  std::vector<V> v, got(static_cast<size_t>(n) + 1, 77), want(got);
  std::vector<uint32_t> r;
  const Int128 divisor = of.divisor.wide;
  int64_t want_clamps = 0;
  for (int64_t i = 0; i < n; ++i) {
    g.push_back(mix.number(g_bits));
    v.push_back(static_cast<V>(mix.number(v_bits)));
    const Int128 numerator = of.numerator(g.back(), v.back());
    r.push_back(static_cast<uint32_t>(mix.next()));
    const Int128 size = numerator.hi < 0 ? gvm::neg(numerator) : numerator;
    const bool small = gvm::bit_length(gvm::to_unsigned(size)) < 94 && mix.below(4) != 0;
    if (small) r.back() = turning_point(numerator, divisor, mix.below(9) - 4);
    want[static_cast<size_t>(i)] = static_cast<V>(gvm::quotient(
        numerator, divisor, rounding, r.back(), 8 * static_cast<int>(sizeof(V)), &want_clamps));
  }
  const int64_t clamps = of.products(cpu.update, g.data(), v.data(), n, r.data(), got.data());
  if (clamps < 0) {
    ++left;
    return;
  }
  ++taken;
  if (got == want && clamps == want_clamps) return;
  ++failures;
  std::printf("velocities %s: count %lld, rate %lld, momentum %lld / 2^%d, t %lld, rounding %d\n",
              gvm::cpu_level_name(cpu.level), static_cast<long long>(count),
              static_cast<long long>(rate), static_cast<long long>(momentum), bits,
              static_cast<long long>(t), static_cast<int>(rounding));
}

}  // namespace

int main() {
  for (int level = 0; level <= static_cast<int>(gvm::detect_cpu()); ++level) {
    const CpuKernels& cpu = gvm::cpu_kernels(static_cast<gvm::CpuLevel>(level));
    taken = left = 0;
    Mix mix{17};
    for (int round = 0; round < 6000; ++round) {
      const int count_bits = static_cast<int>(mix.below(23));
      int64_t count = 1 + mix.below(int64_t{1} << count_bits);
      if (round % 5 == 0) count = int64_t{1} << mix.below(23);
      const int64_t rate = round % 50 == 0 ? mix.below(3) : mix.below(1 << 15);
      const int bits = 15 - static_cast<int>(mix.below(8));
      const int64_t momentum = mix.below(4) == 0 ? (1 << bits) - 1 : mix.below(1 << bits);
      // As ops/momentum.cc: at most 55, and 45 below the larger of it and `bits`.
      const int64_t t = mix.below(56 + 45 - bits) - 45 + bits;
      const Rounding rounding = static_cast<Rounding>(round % 3);
      const int g_bits = 1 + static_cast<int>(mix.below(40));
      const int64_t n = 1 + mix.below(40);
      if (round % 2 == 0) {
        check<int16_t>(cpu, mix, count, rate, momentum, bits, t, rounding, g_bits, 15, n);
      } else {
        const int v_bits = 1 + static_cast<int>(mix.below(31));
        check<int32_t>(cpu, mix, count, rate, momentum, bits, t, rounding, g_bits, v_bits, n);
      }
    }
    std::printf("velocity_test: %s: %lld by products, %lld not\n", gvm::cpu_level_name(cpu.level),
                static_cast<long long>(taken), static_cast<long long>(left));
    const bool has = cpu.update.velocities != nullptr;
    if ((taken >= 1000) != has || left < 500) {
      ++failures;
      std::printf("velocity_test: one of the ways was hardly taken\n");
    }
  }
  return failures == 0 ? 0 : 1;
}
