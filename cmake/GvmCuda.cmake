# The CUDA backend, gvm/_core/cuda: GVM_CUDA is
#   OFF        not built (the default)
#   ON         built with nvcc, which must be there
#   SIMULATED  its kernels built as C++ for this processor: the device that tests use where there is
#              no GPU. Slow, and no backend to ship.
set(GVM_CUDA OFF CACHE STRING "CUDA backend: OFF, ON, or SIMULATED (tests without a GPU)")
set_property(CACHE GVM_CUDA PROPERTY STRINGS OFF ON SIMULATED)
set(GVM_CUDA_ARCHITECTURES "80-real;90-real;90-virtual" CACHE STRING
  "What nvcc compiles for; a virtual one is compiled by the driver for later GPUs")

set(gvm_cuda_libraries "")
set(gvm_with_cuda 0)
if(GVM_CUDA)
  set(gvm_with_cuda 1)
  file(GLOB gvm_cuda_sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/gvm/_core/cuda/*.cu")
  if(GVM_CUDA STREQUAL "SIMULATED")
    set_source_files_properties(${gvm_cuda_sources} PROPERTIES LANGUAGE CXX)
    set_property(SOURCE ${gvm_cuda_sources} APPEND PROPERTY COMPILE_OPTIONS -x c++)
    list(APPEND gvm_cuda_sources "${CMAKE_CURRENT_SOURCE_DIR}/gvm/_core/cuda/simulated.cc")
  else()
    set(CMAKE_CUDA_ARCHITECTURES ${GVM_CUDA_ARCHITECTURES})
    set(CMAKE_CUDA_STANDARD 17)
    set(CMAKE_CUDA_STANDARD_REQUIRED ON)
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    set(gvm_cuda_libraries CUDA::cudart_static)
    # Device lambdas; the constexpr functions of fixed.h on the device.
    set(gvm_cuda_options --extended-lambda --expt-relaxed-constexpr -Xcompiler=-Wall,-Wextra)
    if(GVM_WERROR)
      list(APPEND gvm_cuda_options -Werror=all-warnings -Xcompiler=-Werror)
    endif()
    set_property(SOURCE ${gvm_cuda_sources} APPEND PROPERTY COMPILE_OPTIONS ${gvm_cuda_options})
  endif()
  list(APPEND gvm_sources ${gvm_cuda_sources})
endif()
list(APPEND gvm_isa_definitions GVM_WITH_CUDA=${gvm_with_cuda})
