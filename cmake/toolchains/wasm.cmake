# wasm32 with wasi-libc, by Debian's clang 14; programs run in Node, which needs no other engine.
# No threads and no exceptions there: configure with GVM_THREADS=OFF, GVM_EXCEPTIONS=OFF, GVM_STATIC=ON.
set(CMAKE_SYSTEM_NAME WASI)
set(CMAKE_SYSTEM_VERSION 1)
set(CMAKE_SYSTEM_PROCESSOR wasm32)
set(CMAKE_C_COMPILER clang)
set(CMAKE_CXX_COMPILER clang++)
set(CMAKE_C_COMPILER_TARGET wasm32-wasi)
set(CMAKE_CXX_COMPILER_TARGET wasm32-wasi)
set(CMAKE_C_FLAGS_INIT "-msimd128")
set(CMAKE_CXX_FLAGS_INIT "-msimd128 -fno-exceptions")
# The stack of 64 KiB that is usual there is too small; memory grows as it is asked for.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,-z,stack-size=4194304")
set(CMAKE_CROSSCOMPILING_EMULATOR
  "node;--no-warnings;${CMAKE_CURRENT_LIST_DIR}/wasi.mjs")
