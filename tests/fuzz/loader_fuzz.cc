// Any bytes as a file and as a program: both are judged, and what loads says all about itself.
#include <cstdlib>

#include "hostile.h"

using namespace hostile;

namespace {

void describe(const gvm_program* program) {
  gvm_program_info info;
  info.struct_size = sizeof info;
  check(gvm_program_get_info(program, &info) == GVM_OK, "info");
  const uint32_t counts[] = {info.inputs, info.labels,  info.parameters,
                             info.state,  info.outputs, info.total_tensors};
  for (int section = 0; section < 6; ++section) {
    gvm_tensor_info tensor;
    tensor.struct_size = sizeof tensor;
    for (uint32_t i = 0; i < counts[section]; ++i) {
      check(gvm_program_get_tensor(program, section, i, &tensor) == GVM_OK, "a tensor");
    }
    check(gvm_program_get_tensor(program, section, counts[section], &tensor) < 0, "one too many");
  }
  gvm_cost cost;
  cost.struct_size = sizeof cost;
  for (int function = 0; function < 4; ++function) {
    gvm_program_get_cost(program, function, info.max_batch, &cost);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  gvm_error error;
  gvm_file parts;
  parts.struct_size = sizeof parts;
  const uint8_t* program_bytes = data;
  size_t program_size = size;
  if (gvm_file_parse(data, size, &parts, &error) == GVM_OK) {
    program_bytes = parts.program;
    program_size = static_cast<size_t>(parts.program_size);
  }
  const gvm_limits small = {sizeof small, 1 << 16, 256, 1 << 16, 1 << 21, 1 << 21};
  for (const gvm_limits* limits : {static_cast<const gvm_limits*>(nullptr), &small}) {
    gvm_program* program = nullptr;
    const int status = gvm_program_new(program_bytes, program_size, limits, &program, &error);
    check(status >= 0, std::string("a host failure while loading: ") + error.message);
    check((status == GVM_OK) == (program != nullptr), "a handle without success");
    check(status == GVM_OK || error.message[0] != '\0', "a refusal without a reason");
    if (program != nullptr) describe(program);
    gvm_program_free(program);
  }
  if (failures != 0) std::abort();
  return 0;
}
