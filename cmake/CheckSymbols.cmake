# cmake -DNM=... -DOBJECTS=<file with one object path a line> -P CheckSymbols.cmake
# A micro-kernel's object defines no weak symbol. The linker keeps one copy of an inline function:
# if it came from such a file, it would hold instructions that other machines do not have.
file(STRINGS "${OBJECTS}" objects REGEX "_(avx2|avx512)\\.cc\\.o(bj)?$")
set(bad "")
foreach(object IN LISTS objects)
  execute_process(COMMAND "${NM}" -C "${object}" OUTPUT_VARIABLE symbols RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "nm failed on ${object}")
  endif()
  string(REGEX MATCHALL "[0-9a-f]+ [WVu] [^\n]*" weak "${symbols}")
  foreach(symbol IN LISTS weak)
    string(APPEND bad "${object}: ${symbol}\n")
  endforeach()
endforeach()
if(bad)
  message(FATAL_ERROR "weak symbols in instruction-set files:\n${bad}")
endif()
