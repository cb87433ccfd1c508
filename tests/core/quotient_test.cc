// The quotient kernels against fixed.h: numerators of all sizes, at and beside multiples, ties and
// the edge of a decision.
#include <cstdio>
#include <vector>

#include "cpu/dispatch.h"

namespace {

using gvm::CpuKernels;
using gvm::Divisor;
using gvm::Int128;
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
};

constexpr int64_t kMost = int64_t{1} << 62;

// quotient * divisor + a remainder that is often at an edge, within kMost.
int64_t numerator(Mix& mix, Divisor d, uint32_t r) {
  const int bits = static_cast<int>(mix.next() % 63) + 1;
  const int64_t any = static_cast<int64_t>(mix.next()) >> (64 - bits);
  if (mix.next() % 4 == 0) return any;
  const uint64_t divisor = uint64_t{d.count} << d.shift;
  if (d.shift + gvm::bit_length(uint64_t{d.count}) > 61) return any;
  uint64_t rest = 0;
  switch (mix.next() % 4) {
    case 0:
      rest = divisor / 2;
      break;
    case 1:
      rest = gvm::scale_by_random(divisor, r);
      break;  // where stochastic rounding turns
    case 2:
      rest = divisor - 1;
      break;
    default:
      break;
  }
  rest += mix.next() % 3;
  rest -= mix.next() % 3;
  const int64_t room = static_cast<int64_t>(static_cast<uint64_t>(kMost) / divisor) - 2;
  const int64_t q = room <= 0 ? 0 : any % room;
  return q * static_cast<int64_t>(divisor) + static_cast<int64_t>(rest);
}

void check(const CpuKernels& cpu, Divisor d, Rounding rounding, bool with_base, int64_t n,
           Mix& mix) {
  std::vector<int64_t> values, want, base;
  std::vector<uint32_t> r;
  const Int128 divisor = gvm::shl(gvm::from_int64(d.count), d.shift);
  for (int64_t i = 0; i < n; ++i) {
    r.push_back(static_cast<uint32_t>(mix.next()));
    values.push_back(mix.next() % 50 == 0 ? (mix.next() % 2 == 0 ? kMost : -kMost)
                                          : numerator(mix, d, r.back()));
    base.push_back(with_base ? static_cast<int64_t>(mix.next()) >> 33 : 0);
    const Int128 whole = gvm::add(gvm::mul(divisor, base.back()), gvm::from_int64(values.back()));
    int64_t clamps = 0;
    want.push_back(gvm::quotient(whole, divisor, rounding, r.back(), 64, &clamps) - base.back());
  }
  const std::vector<int64_t> before = values;
  cpu.quotient.run(values.data(), n, d, rounding, r.data(), with_base ? base.data() : nullptr);
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] == want[i]) continue;
    ++failures;
    std::printf("quotient %s: %lld / (%u << %d), rounding %d, r %u: %lld, not %lld\n",
                gvm::cpu_level_name(cpu.level), static_cast<long long>(before[i]), d.count, d.shift,
                static_cast<int>(rounding), r[i], static_cast<long long>(values[i]),
                static_cast<long long>(want[i]));
    return;
  }
}

}  // namespace

int main() {
  for (int level = 0; level <= static_cast<int>(gvm::detect_cpu()); ++level) {
    const CpuKernels& cpu = gvm::cpu_kernels(static_cast<gvm::CpuLevel>(level));
    std::printf("quotient_test: %s\n", gvm::cpu_level_name(cpu.level));
    Mix mix{13};
    for (int shift = 0; shift <= 62; ++shift) {
      for (int round = 0; round < 40; ++round) {
        const int bits = 1 + static_cast<int>(mix.next() % 30);
        uint32_t count = static_cast<uint32_t>(mix.next() >> (64 - bits));
        if (round == 0) count = (1u << 30) - 1;
        if (round == 1) count = 1u << (mix.next() % 30);
        if (count == 0) count = 1;
        const Rounding rounding = static_cast<Rounding>(round % 3);
        check(cpu, {count, shift}, rounding, round % 2 == 0,
              1 + static_cast<int64_t>(mix.next() % 40), mix);
      }
    }
  }
  return failures == 0 ? 0 : 1;
}
