// Python bindings: model files.
#include "bindings.h"

namespace gvm_python {

namespace {

py::tuple parse_file(const py::buffer& bytes) {
  const Bytes b(bytes);
  gvm_file f;
  f.struct_size = sizeof f;
  gvm_error error;
  check(gvm_file_parse(b.data(), b.size(), &f, &error), error);
  return py::make_tuple(to_bytes(f.program, f.program_size),
                        to_bytes(f.parameters, f.parameters_size), to_bytes(f.state, f.state_size),
                        to_bytes(f.info, f.info_size));
}

py::bytes write_file(const py::bytes& program, const py::bytes& parameters, const py::bytes& state,
                     const py::bytes& info) {
  const std::string_view p = program, q = parameters, s = state, i = info;
  const auto at = [](std::string_view v) { return reinterpret_cast<const uint8_t*>(v.data()); };
  const gvm_file f = {sizeof f, at(p), p.size(), at(q), q.size(), at(s), s.size(), at(i), i.size()};
  std::string out(gvm_file_size(&f), '\0');
  gvm_error error;
  check(gvm_file_write(&f, reinterpret_cast<uint8_t*>(&out[0]), out.size(), &error), error);
  return py::bytes(out);
}

}  // namespace

void bind_files(py::module_& m) {
  m.def("parse_file", &parse_file);
  m.def("write_file", &write_file);
}

}  // namespace gvm_python
