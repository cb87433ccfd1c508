# Finds the sources. A file named <name>_<isa>.cc is a micro-kernel for one instruction set: it is
# compiled only for processors of that family, with that set's flags, and GVM_HAVE_<ISA> (0 or 1)
# tells dispatch.cc whether it is there. Such a file shares no inline function with others: the
# linker keeps one copy of an inline function, and it must not be the one with wider instructions.

file(GLOB gvm_sources CONFIGURE_DEPENDS
  "${CMAKE_CURRENT_SOURCE_DIR}/gvm/_core/*.cc"
  "${CMAKE_CURRENT_SOURCE_DIR}/gvm/_core/ops/*.cc"
  "${CMAKE_CURRENT_SOURCE_DIR}/gvm/_core/cpu/*.cc")
list(FILTER gvm_sources EXCLUDE REGEX "/bindings[a-z_]*\\.cc$")

include(CheckCXXSourceCompiles)
# What the compiler aims at, by its own macros: true when cross-compiling too.
check_cxx_source_compiles("
#if !defined(__x86_64__)
#error
#endif
int main() { return 0; }" GVM_TARGET_X86_64)

check_cxx_source_compiles("
#if !defined(__aarch64__) || !defined(__AARCH64EL__)
#error
#endif
int main() { return 0; }" GVM_TARGET_AARCH64)

set(gvm_isa_definitions "")

# gvm_isa(<name> <target condition> <flag>...)
macro(gvm_isa name condition)
  string(TOUPPER "${name}" gvm_isa_upper)
  set(gvm_isa_files ${gvm_sources})
  list(FILTER gvm_isa_files INCLUDE REGEX "_${name}\\.cc$")
  if(${condition} AND gvm_isa_files)
    if(NOT "${ARGN}" STREQUAL "")
      set_property(SOURCE ${gvm_isa_files} APPEND PROPERTY COMPILE_OPTIONS ${ARGN})
    endif()
    list(APPEND gvm_isa_definitions GVM_HAVE_${gvm_isa_upper}=1)
  else()
    list(FILTER gvm_sources EXCLUDE REGEX "_${name}\\.cc$")
    list(APPEND gvm_isa_definitions GVM_HAVE_${gvm_isa_upper}=0)
  endif()
endmacro()

# GCC 12's own AVX-512 headers read variables that they leave uninitialised on purpose.
set(gvm_gcc_quirks "")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(gvm_gcc_quirks -Wno-uninitialized -Wno-maybe-uninitialized)
endif()

gvm_isa(avx2 GVM_TARGET_X86_64 -mavx2 -mbmi -mbmi2 -mlzcnt -mpopcnt)
gvm_isa(avx512 GVM_TARGET_X86_64
  -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mbmi -mbmi2 -mlzcnt -mpopcnt
  ${gvm_gcc_quirks})

# Part of every such processor: no flags.
gvm_isa(neon GVM_TARGET_AARCH64)
