// Python bindings: the tree inside of BLAKE3.
#include <algorithm>

#include "bindings.h"

namespace gvm_python {

void bind_trees(py::module_& m) {
  m.def(
      "referee",
      [](const py::buffer& claim, uint64_t memory) -> py::object {
        const Bytes b(claim);
        gvm_verdict finding = {sizeof finding, 0, 0, 0};
        gvm_error error;
        check(gvm_referee(b.data(), b.size(), memory, &finding, &error), error);
        if (finding.refused != 0) return py::none();
        return py::int_(finding.value);
      },
      py::arg("claim"), py::arg("memory") = 0,
      "What the element of a claim is; None where the operator refuses its operands.");
  m.def("blake3_chunks", [](const py::buffer& bytes, uint64_t first, bool root) {
    const Bytes b(bytes);
    std::string values(GVM_ID_BYTES * std::max<size_t>(1, (b.size() + 1023) / 1024), '\0');
    check(gvm_blake3_chunks(b.data(), b.size(), first, root ? 1 : 0,
                            reinterpret_cast<uint8_t*>(&values[0])),
          "blake3_chunks: root is one chunk");
    return py::bytes(values);
  });
  m.def("blake3_parents", [](const py::buffer& row, bool root) {
    const Bytes b(row);
    const size_t n = b.size() / GVM_ID_BYTES;
    const bool right = n * GVM_ID_BYTES == b.size() && (!root || n == 2);
    check(right ? GVM_OK : GVM_BAD_CALL, "blake3_parents: not a row of values");
    std::string above(GVM_ID_BYTES * ((n + 1) / 2), '\0');
    uint8_t* to = reinterpret_cast<uint8_t*>(&above[0]);
    for (size_t i = 0; i + 1 < n; i += 2, to += GVM_ID_BYTES) {
      const uint8_t* left = b.data() + i * GVM_ID_BYTES;
      gvm_blake3_parent(left, left + GVM_ID_BYTES, root ? 1 : 0, to);
    }
    if (n % 2 == 1) std::copy(b.data() + b.size() - GVM_ID_BYTES, b.data() + b.size(), to);
    return py::bytes(above);
  });
}

}  // namespace gvm_python
