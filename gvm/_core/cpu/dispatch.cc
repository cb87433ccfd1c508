#include "cpu/dispatch.h"

#include <cstring>
#include <initializer_list>

#if GVM_X86_64
#include <cpuid.h>
#endif

namespace gvm {

namespace {

const CpuKernels kScalarKernels = {CpuLevel::scalar, kGemmScalar,   kConvertScalar,
                                   kQuotientScalar,  kUpdateScalar, kRowsScalar};

#if GVM_X86_64

const CpuKernels kAvx2Kernels = {CpuLevel::avx2, kGemmAvx2,   kConvertAvx2,
                                 kQuotientAvx2,  kUpdateAvx2, kRowsAvx2};
const CpuKernels kAvx512Kernels = {CpuLevel::avx512, kGemmAvx512,   kConvertAvx512,
                                   kQuotientAvx512,  kUpdateAvx512, kRowsAvx512};

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

#endif

}  // namespace

CpuLevel detect_cpu() {
#if GVM_X86_64
  return detect_x86();
#else
  return CpuLevel::scalar;
#endif
}

const CpuKernels& cpu_kernels(CpuLevel level) {
#if GVM_X86_64
  if (level == CpuLevel::avx512) return kAvx512Kernels;
  if (level == CpuLevel::avx2) return kAvx2Kernels;
#endif
  (void)level;
  return kScalarKernels;
}

const char* cpu_level_name(CpuLevel level) {
  switch (level) {
    case CpuLevel::scalar:
      return "scalar";
    case CpuLevel::avx2:
      return "avx2";
    case CpuLevel::avx512:
      return "avx512";
  }
  return "unknown";
}

bool parse_cpu_level(const char* text, CpuLevel* level) {
  for (const CpuLevel candidate : {CpuLevel::scalar, CpuLevel::avx2, CpuLevel::avx512}) {
    if (std::strcmp(text, cpu_level_name(candidate)) == 0) {
      *level = candidate;
      return true;
    }
  }
  return false;
}

}  // namespace gvm
