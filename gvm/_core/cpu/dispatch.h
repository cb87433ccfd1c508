// Which instruction sets this processor has. The only file that asks.
#pragma once

#include "cpu/kernels.h"

namespace gvm {

// The highest level that the processor and the operating system support. avx512 stands for
// F, BW, DQ, VL and VNNI together.
CpuLevel detect_cpu();

// The kernels of a level. The level must not be above detect_cpu().
const CpuKernels& cpu_kernels(CpuLevel level);

const char* cpu_level_name(CpuLevel level);

// Reads a level of this architecture ("scalar", "avx2", "avx512" or "neon"), as the environment
// variable GVM_CPU holds; false otherwise.
bool parse_cpu_level(const char* text, CpuLevel* level);

}  // namespace gvm
