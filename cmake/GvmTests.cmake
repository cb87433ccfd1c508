# An archive, so that a test links only what it uses, hidden symbols included.
add_library(gvm_archive STATIC $<TARGET_OBJECTS:gvm_objects>)
target_include_directories(gvm_archive PUBLIC
  "${CMAKE_CURRENT_SOURCE_DIR}/gvm/_core" "${CMAKE_CURRENT_SOURCE_DIR}/gvm/_core/include")
target_compile_definitions(gvm_archive PUBLIC ${gvm_definitions})
target_link_libraries(gvm_archive PUBLIC ${gvm_threads} ${gvm_cuda_libraries})
set_target_properties(gvm_archive PROPERTIES LINKER_LANGUAGE CXX)

# Each tests/core/<name>_test.cc is one executable, run with the vectors folder as its argument.
file(GLOB gvm_test_sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/tests/core/*_test.cc")
foreach(source IN LISTS gvm_test_sources)
  get_filename_component(name "${source}" NAME_WE)
  add_executable(${name} "${source}")
  target_include_directories(${name} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/tests/core")
  target_link_libraries(${name} PRIVATE gvm_archive)
  gvm_compile_flags(${name})
  add_test(NAME core.${name}
    COMMAND ${name} "${CMAKE_CURRENT_SOURCE_DIR}/tests/vectors")
  set_tests_properties(core.${name} PROPERTIES TIMEOUT 600)
endforeach()

# Each tests/fuzz/<name>_fuzz.cc is one libFuzzer target.
if(GVM_FUZZ)
  foreach(name loader_fuzz execution_fuzz)
    add_executable(${name} "${CMAKE_CURRENT_SOURCE_DIR}/tests/fuzz/${name}.cc")
    target_include_directories(${name} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/tests/core")
    target_link_libraries(${name} PRIVATE gvm_archive)
    gvm_compile_flags(${name})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  endforeach()
endif()

# The vectors through gvm.h alone, from C: on every level of this machine, then with threads.
enable_language(C)
file(GLOB gvm_conform_sources CONFIGURE_DEPENDS
  "${CMAKE_CURRENT_SOURCE_DIR}/tests/conform/*.c")
add_executable(gvm-conform ${gvm_conform_sources})
target_compile_options(gvm-conform PRIVATE -std=c99 -pedantic-errors)
target_link_libraries(gvm-conform PRIVATE gvm)
set_target_properties(gvm-conform PROPERTIES LINKER_LANGUAGE CXX)
gvm_compile_flags(gvm-conform)
add_test(NAME conform.vectors
  COMMAND gvm-conform "${CMAKE_CURRENT_SOURCE_DIR}/tests/vectors")
add_test(NAME conform.threads COMMAND gvm-conform --threads 3 --only training
  "${CMAKE_CURRENT_SOURCE_DIR}/tests/vectors")
set_tests_properties(conform.vectors conform.threads PROPERTIES TIMEOUT 600)

# The public header compiles alone, twice over, in four language standards.
set(gvm_header "${CMAKE_CURRENT_SOURCE_DIR}/gvm/_core/include/gvm/gvm.h")
if(EXISTS "${gvm_header}")
  foreach(standard c99 c11 c++17 c++20)
    string(REPLACE "+" "x" target "header_${standard}")
    string(FIND "${standard}" "+" is_cxx)
    set(source "${CMAKE_CURRENT_BINARY_DIR}/${target}.cc")
    if(is_cxx EQUAL -1)
      set(source "${CMAKE_CURRENT_BINARY_DIR}/${target}.c")
    endif()
    file(WRITE "${source}" "#include <gvm/gvm.h>\n#include <gvm/gvm.h>\n"
      "int gvm_header_is_alone(void);\nint gvm_header_is_alone(void) { return 0; }\n")
    add_library(${target} OBJECT "${source}")
    target_include_directories(${target} PRIVATE
      "${CMAKE_CURRENT_SOURCE_DIR}/gvm/_core/include")
    target_compile_options(${target} PRIVATE
      -std=${standard} -pedantic-errors -Wall -Wextra -Werror)
  endforeach()
endif()

if(CMAKE_SYSTEM_NAME STREQUAL "Linux" AND CMAKE_BUILD_TYPE STREQUAL "Release" AND CMAKE_NM)
  file(GENERATE OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/objects.txt"
    CONTENT "$<JOIN:$<TARGET_OBJECTS:gvm_objects>,\n>\n")
  add_test(NAME house.symbols COMMAND "${CMAKE_COMMAND}" -DNM=${CMAKE_NM}
    "-DOBJECTS=${CMAKE_CURRENT_BINARY_DIR}/objects.txt"
    -P "${CMAKE_CURRENT_SOURCE_DIR}/cmake/CheckSymbols.cmake")
  if(NOT GVM_STATIC AND EXISTS "${gvm_header}")
    add_test(NAME house.exports COMMAND "${CMAKE_COMMAND}" -DNM=${CMAKE_NM}
      "-DLIBRARY=$<TARGET_FILE:gvm>" "-DHEADER=${gvm_header}"
      -P "${CMAKE_CURRENT_SOURCE_DIR}/cmake/CheckExports.cmake")
  endif()
endif()
