// Between Python and gvm.h: errors, types, arrays and buffers.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <string>
#include <vector>

#include "gvm/gvm.h"

namespace py = pybind11;

namespace gvm_python {

using IntegerArray = py::array;
using Words = py::array_t<uint32_t, py::array::c_style>;
using Totals = py::array_t<int64_t, py::array::c_style>;

// What is bound in other files.
void bind_trees(py::module_& m);
void bind_files(py::module_& m);

[[noreturn]] inline void raise(int status, const char* message) {
  const py::object type = py::module_::import("gvm.errors").attr("from_status");
  const py::object error = type(status, gvm_status_name(status), message);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw py::error_already_set();
}

inline void check(int status, const gvm_error& error) {
  if (status != GVM_OK) raise(status, error.message);
}

inline void check(int status, const char* what) {
  if (status != GVM_OK) raise(status, what);
}

inline gvm_type to_type(const py::handle& t) {
  gvm_type out;
  std::memset(&out, 0, sizeof out);
  const int fraction_bits = t.attr("fraction_bits").cast<int>();
  const auto shape = t.attr("shape").cast<std::vector<int64_t>>();
  if (shape.size() > GVM_MAX_RANK) raise(GVM_BAD_SHAPE, "a type: the rank must be at most 8");
  if (fraction_bits < -128 || fraction_bits > 127) {
    raise(GVM_BAD_TYPE, "a type: fraction bits must be in [-32, 47]");
  }
  static const char* const names[] = {"", "i16", "i32", "i64", "u8", "bool"};
  const std::string dtype = t.attr("dtype").cast<std::string>();
  for (uint8_t i = 1; i <= 5; ++i) {
    if (dtype == names[i]) out.dtype = i;
  }
  out.fraction_bits = static_cast<int8_t>(fraction_bits);
  out.partial = t.attr("partial").cast<bool>() ? 1 : 0;
  out.bound = t.attr("bound").cast<uint64_t>();
  out.rank = static_cast<uint8_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) out.dims[i] = shape[i];
  return out;
}

inline py::object from_type(const gvm_type& t) {
  static const char* const names[] = {"", "i16", "i32", "i64", "u8", "bool"};
  py::tuple shape(t.rank);
  for (size_t i = 0; i < t.rank; ++i) shape[i] = t.dims[i];
  return py::module_::import("gvm.types")
      .attr("Type")(names[t.dtype], static_cast<int>(t.fraction_bits), shape, t.partial != 0,
                    t.dtype == GVM_I64 ? t.bound : 0);
}

inline py::bytes to_bytes(const uint8_t* data, uint64_t size) {
  return size == 0 ? py::bytes() : py::bytes(reinterpret_cast<const char*>(data), size);
}

// The bytes of a contiguous buffer, held while it lives. Anything else is a BufferError.
class Bytes {
 public:
  explicit Bytes(const py::buffer& from) {
    if (PyObject_GetBuffer(from.ptr(), &view_, PyBUF_SIMPLE) != 0) throw py::error_already_set();
  }
  ~Bytes() { PyBuffer_Release(&view_); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  const uint8_t* data() const { return static_cast<const uint8_t*>(view_.buf); }
  size_t size() const { return static_cast<size_t>(view_.len); }

 private:
  Py_buffer view_;
};

inline std::vector<const void*> pointers(const std::vector<IntegerArray>& arrays) {
  std::vector<const void*> out;
  for (const IntegerArray& a : arrays) {
    const int needed = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    if ((a.flags() & needed) != needed) {
      throw py::value_error("arrays must be C-contiguous and aligned");
    }
    out.push_back(a.data());
  }
  return out;
}

// Claims by node, of arrays that outlive them.
inline std::vector<gvm_claim> to_claims(
    const std::vector<std::pair<uint32_t, IntegerArray>>& claims) {
  std::vector<gvm_claim> out;
  for (const auto& [node, sums] : claims) {
    const bool wide = sums.dtype().equal(py::dtype::of<int64_t>());
    if (!wide && !sums.dtype().equal(py::dtype::of<int32_t>())) {
      throw py::value_error("claims must be arrays of int32 or int64");
    }
    const uint32_t type = wide ? GVM_I64 : GVM_I32;
    out.push_back({pointers({sums})[0], static_cast<uint64_t>(sums.size()), node, type});
  }
  return out;
}

inline py::dtype numpy_type(const gvm_type& t) {
  switch (t.dtype) {
    case GVM_I16:
      return py::dtype::of<int16_t>();
    case GVM_I32:
      return py::dtype::of<int32_t>();
    case GVM_I64:
      return py::dtype::of<int64_t>();
    default:
      return py::dtype::of<uint8_t>();
  }
}

inline std::vector<py::ssize_t> shape_of(const gvm_type& t, int64_t batch) {
  std::vector<py::ssize_t> shape;
  for (int i = 0; i < t.rank; ++i) shape.push_back(t.dims[i] == -1 ? batch : t.dims[i]);
  return shape;
}

// Refuses arrays that are not what the program declares: the core trusts its pointers.
inline void check_array(const IntegerArray& a, const gvm_type& t, int64_t batch,
                        const char* section, size_t index) {
  const std::vector<py::ssize_t> want = shape_of(t, batch);
  bool same = static_cast<size_t>(a.ndim()) == want.size() && a.dtype().equal(numpy_type(t));
  for (size_t i = 0; same && i < want.size(); ++i)
    same = a.shape(static_cast<py::ssize_t>(i)) == want[i];
  if (same) return;
  const std::string text =
      std::string(section) + " " + std::to_string(index) + ": expected " +
      py::str(from_type(t)).cast<std::string>() + " for " + std::to_string(batch) +
      " examples, received " + py::str(a.dtype()).cast<std::string>() +
      py::str(py::tuple(py::cast(std::vector<py::ssize_t>(a.shape(), a.shape() + a.ndim()))))
          .cast<std::string>();
  raise(GVM_BAD_INPUT, text.c_str());
}

struct AttributeList {
  explicit AttributeList(const py::sequence& given) {
    offsets.push_back(0);
    for (const py::handle& item : given) {
      if (py::isinstance<py::int_>(item)) {
        values.push_back(item.cast<int64_t>());
      } else {
        for (const py::handle& v : item.cast<py::sequence>()) values.push_back(v.cast<int64_t>());
      }
      offsets.push_back(static_cast<uint32_t>(values.size()));
    }
    raw = {static_cast<uint32_t>(offsets.size() - 1), offsets.data(), values.data()};
  }
  AttributeList(const AttributeList&) = delete;
  AttributeList& operator=(const AttributeList&) = delete;
  std::vector<uint32_t> offsets;
  std::vector<int64_t> values;
  gvm_attributes raw;
};

}  // namespace gvm_python
