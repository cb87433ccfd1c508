#include "cpu/dispatch.h"

#include <cstring>

#if GVM_X86_64
#include <cpuid.h>
#endif

namespace gvm {

namespace {

const CpuKernels kScalarKernels = {CpuLevel::scalar, kGemmScalar, kConvertScalar, kQuotientScalar,
                                   kUpdateScalar,    kRowsScalar, kWeighScalar};

#if GVM_X86_64

const CpuKernels kAvx2Kernels = {CpuLevel::avx2, kGemmAvx2, kConvertAvx2, kQuotientAvx2,
                                 kUpdateAvx2,    kRowsAvx2, kWeighAvx2};
const CpuKernels kAvx512Kernels = {CpuLevel::avx512, kGemmAvx512, kConvertAvx512, kQuotientAvx512,
                                   kUpdateAvx512,    kRowsAvx512, kWeighAvx512};

// XCR0: the register files that the operating system saves.
uint64_t saved_registers() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

bool has_bits(uint32_t word, uint32_t bits) { return (word & bits) == bits; }

CpuLevel detect_x86() {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return CpuLevel::scalar;
  const uint32_t osxsave = 1u << 27, avx = 1u << 28;
  if (!has_bits(c, osxsave | avx)) return CpuLevel::scalar;
  const uint64_t saved = saved_registers();
  const uint64_t ymm = 0x06, zmm = 0xe6;
  if ((saved & ymm) != ymm) return CpuLevel::scalar;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return CpuLevel::scalar;
  const uint32_t avx2 = 1u << 5;
  if (!has_bits(b, avx2)) return CpuLevel::scalar;
  const uint32_t f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31, vnni = 1u << 11;
  if ((saved & zmm) != zmm || !has_bits(b, f | dq | bw | vl) || !has_bits(c, vnni)) {
    return CpuLevel::avx2;
  }
  return CpuLevel::avx512;
}

#elif GVM_AARCH64

const CpuKernels kNeonKernels = {CpuLevel::neon, kGemmNeon,   kConvertScalar, kQuotientScalar,
                                 kUpdateScalar,  kRowsScalar, kWeighScalar};

#endif

// Every level that this architecture may have, in order.
struct Level {
  CpuLevel level;
  const char* name;
};
const Level kLevels[] = {
    {CpuLevel::scalar, "scalar"},
#if GVM_X86_64
    {CpuLevel::avx2, "avx2"},
    {CpuLevel::avx512, "avx512"},
#elif GVM_AARCH64
    {CpuLevel::neon, "neon"},
#endif
};

}  // namespace

CpuLevel detect_cpu() {
#if GVM_X86_64
  return detect_x86();
#elif GVM_AARCH64
  return CpuLevel::neon;
#else
  return CpuLevel::scalar;
#endif
}

const CpuKernels& cpu_kernels(CpuLevel level) {
#if GVM_X86_64
  if (level == CpuLevel::avx512) return kAvx512Kernels;
  if (level == CpuLevel::avx2) return kAvx2Kernels;
#elif GVM_AARCH64
  if (level == CpuLevel::neon) return kNeonKernels;
#endif
  (void)level;
  return kScalarKernels;
}

const char* cpu_level_name(CpuLevel level) {
  for (const Level& known : kLevels) {
    if (known.level == level) return known.name;
  }
  return "unknown";
}

bool parse_cpu_level(const char* text, CpuLevel* level) {
  for (const Level& known : kLevels) {
    if (std::strcmp(text, known.name) == 0) {
      *level = known.level;
      return true;
    }
  }
  return false;
}

}  // namespace gvm
