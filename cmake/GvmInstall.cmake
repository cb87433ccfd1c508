# libgvm, gvm/gvm.h, a CMake package (find_package(gvm) gives gvm::gvm) and a pkg-config file.
include(CMakePackageConfigHelpers)

set(gvm_cmake_dir "${CMAKE_INSTALL_LIBDIR}/cmake/gvm")
install(TARGETS gvm EXPORT gvm-targets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/gvm/_core/include/gvm"
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h")
install(EXPORT gvm-targets NAMESPACE gvm:: DESTINATION "${gvm_cmake_dir}")

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/gvm-config.cmake.in"
  "${CMAKE_CURRENT_BINARY_DIR}/gvm-config.cmake" INSTALL_DESTINATION "${gvm_cmake_dir}")
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/gvm-config-version.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/gvm-config.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/gvm-config-version.cmake" DESTINATION "${gvm_cmake_dir}")

configure_file("${CMAKE_CURRENT_LIST_DIR}/gvm.pc.in" "${CMAKE_CURRENT_BINARY_DIR}/gvm.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/gvm.pc"
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
