// Evaluates a .dmodel in C++: prints its ids and the exact loss, as ../embed_c does.
//
//   embed_cpp model.dmodel inputs.raw labels.raw
#include <gvm/gvm.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Bytes = std::vector<uint8_t>;

Bytes read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot be opened");
  return Bytes(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

void check(int status, const gvm_error& error) {
  if (status == GVM_OK) return;
  throw std::runtime_error(std::string(error.message) + " (" + gvm_status_name(status) + ")");
}

struct Free {
  void operator()(gvm_program* p) const { gvm_program_free(p); }
  void operator()(gvm_session* s) const { gvm_session_free(s); }
};

std::string hex(const uint8_t (&id)[GVM_ID_BYTES]) {
  std::string text;
  for (uint8_t byte : id) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", byte);
    text += digits;
  }
  return text;
}

// Bytes of one example of the first tensor of a section; the batch is its first axis.
size_t example_bytes(const gvm_program* program, int section) {
  static const size_t widths[] = {0, 2, 4, 8, 1, 1};
  gvm_tensor_info tensor;
  tensor.struct_size = sizeof tensor;
  if (gvm_program_get_tensor(program, section, 0, &tensor) != GVM_OK || tensor.type.rank == 0 ||
      tensor.type.dims[0] != -1) {
    throw std::runtime_error("needs a loss, one input and one label, batch axis first");
  }
  size_t bytes = widths[tensor.type.dtype];
  for (int i = 1; i < tensor.type.rank; ++i) bytes *= static_cast<size_t>(tensor.type.dims[i]);
  return bytes;
}

void run(const std::string& model, const std::string& inputs, const std::string& labels) {
  gvm_error error = {};
  const Bytes bytes = read_file(model), x = read_file(inputs), y = read_file(labels);
  gvm_file file;
  file.struct_size = sizeof file;
  check(gvm_file_parse(bytes.data(), bytes.size(), &file, &error), error);
  gvm_program* loaded = nullptr;
  check(gvm_program_new(file.program, file.program_size, nullptr, &loaded, &error), error);
  const std::unique_ptr<gvm_program, Free> program(loaded);
  gvm_program_info info;
  info.struct_size = sizeof info;
  check(gvm_program_get_info(program.get(), &info), error);
  uint8_t parameters_id[GVM_ID_BYTES];
  check(gvm_program_parameters_id(program.get(), file.parameters, file.parameters_size,
                                  parameters_id, &error),
        error);
  gvm_session* made = nullptr;
  check(gvm_session_new(program.get(), nullptr, &made, &error), error);
  const std::unique_ptr<gvm_session, Free> session(made);
  check(gvm_session_write(session.get(), GVM_PARAMETERS, file.parameters, file.parameters_size,
                          &error),
        error);
  const size_t x_bytes = example_bytes(program.get(), GVM_INPUTS);
  const size_t y_bytes = example_bytes(program.get(), GVM_LABELS);
  const size_t count = x.size() / x_bytes;
  if (count == 0 || x.size() != count * x_bytes || y.size() != count * y_bytes) {
    throw std::runtime_error("inputs and labels are not of equally many examples");
  }
  gvm_loss loss = {0, 0, 0};
  const size_t batch = static_cast<size_t>(std::min<uint64_t>(256, info.max_batch));
  for (size_t done = 0; done < count; done += batch) {
    const void* const given[] = {x.data() + done * x_bytes};
    const void* const wanted[] = {y.data() + done * y_bytes};
    check(gvm_session_loss(session.get(), given, wanted, std::min(batch, count - done), &loss,
                           &error),
          error);
  }
  std::printf("graph_id %s\nparameters_id %s\n", hex(info.graph_id).c_str(),
              hex(parameters_id).c_str());
  std::printf("total %lld\ncount %lld\ncorrect %lld\n", static_cast<long long>(loss.total),
              static_cast<long long>(loss.count), static_cast<long long>(loss.correct));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s model.dmodel inputs.raw labels.raw\n", argv[0]);
    return 2;
  }
  try {
    run(argv[1], argv[2], argv[3]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[1], error.what());
    return 2;
  }
  return 0;
}
