# The extension gvm._core._gvm. It goes through gvm.h like any other user of the library.
find_package(Python COMPONENTS Interpreter Development.Module REQUIRED)
find_package(pybind11 CONFIG REQUIRED)

file(GLOB gvm_bindings CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/gvm/_core/bindings*.cc")
pybind11_add_module(_gvm MODULE NO_EXTRAS ${gvm_bindings})
target_link_libraries(_gvm PRIVATE gvm_objects)
gvm_compile_flags(_gvm)
install(TARGETS _gvm LIBRARY DESTINATION gvm/_core COMPONENT python)
