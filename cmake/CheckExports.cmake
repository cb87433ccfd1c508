# cmake -DNM=... -DLIBRARY=... -DHEADER=... -P CheckExports.cmake
# The library exports the functions that gvm.h declares, and nothing else.
file(READ "${HEADER}" text)
string(REGEX REPLACE "/\\*([^*]|\\*+[^*/])*\\*+/" "" text "${text}")
string(REGEX REPLACE "//[^\n]*" "" text "${text}")
string(REGEX REPLACE "#[ ]*define[^\n]*" "" text "${text}")
string(REGEX MATCHALL "gvm_[a-z0-9_]+[ ]*\\(" declared "${text}")
list(TRANSFORM declared REPLACE "[ (]" "")
list(REMOVE_DUPLICATES declared)
list(SORT declared)

execute_process(COMMAND "${NM}" -D --defined-only "${LIBRARY}"
  OUTPUT_VARIABLE symbols RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "nm failed on ${LIBRARY}")
endif()
string(REGEX MATCHALL "[0-9a-f]+ [A-Za-z] [^\n]*" lines "${symbols}")
set(exported "")
foreach(line IN LISTS lines)
  string(REGEX REPLACE "^[0-9a-f]+ [A-Za-z] " "" name "${line}")
  list(APPEND exported "${name}")
endforeach()
list(SORT exported)

if(NOT declared STREQUAL exported)
  set(missing ${declared})
  set(extra ${exported})
  list(REMOVE_ITEM missing ${exported} "")
  list(REMOVE_ITEM extra ${declared} "")
  message(FATAL_ERROR "gvm.h and libgvm differ\ndeclared, not exported: ${missing}\n"
    "exported, not declared: ${extra}")
endif()
