// Python bindings: a guest of gvm.h like any other host. No logic; arrays in and out without
// copies.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <optional>

#include "gvm/gvm.h"

namespace py = pybind11;

namespace {

using IntegerArray = py::array;
using Words = py::array_t<uint32_t, py::array::c_style>;
using Totals = py::array_t<int64_t, py::array::c_style>;

[[noreturn]] void raise(int status, const char* message) {
  const py::object type = py::module_::import("gvm.errors").attr("from_status");
  const py::object error = type(status, gvm_status_name(status), message);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw py::error_already_set();
}

void check(int status, const gvm_error& error) {
  if (status != GVM_OK) raise(status, error.message);
}

void check(int status, const char* what) {
  if (status != GVM_OK) raise(status, what);
}

gvm_type to_type(const py::handle& t) {
  gvm_type out;
  std::memset(&out, 0, sizeof out);
  static const char* const names[] = {"", "i16", "i32", "i64", "u8", "bool"};
  const std::string dtype = t.attr("dtype").cast<std::string>();
  for (uint8_t i = 1; i <= 5; ++i) {
    if (dtype == names[i]) out.dtype = i;
  }
  out.fraction_bits = static_cast<int8_t>(t.attr("fraction_bits").cast<int>());
  out.partial = t.attr("partial").cast<bool>() ? 1 : 0;
  out.bound = t.attr("bound").cast<uint64_t>();
  const auto shape = t.attr("shape").cast<std::vector<int64_t>>();
  out.rank = static_cast<uint8_t>(shape.size() > 255 ? 255 : shape.size());
  for (size_t i = 0; i < shape.size() && i < GVM_MAX_RANK; ++i) out.dims[i] = shape[i];
  return out;
}

py::object from_type(const gvm_type& t) {
  static const char* const names[] = {"", "i16", "i32", "i64", "u8", "bool"};
  py::tuple shape(t.rank);
  for (size_t i = 0; i < t.rank; ++i) shape[i] = t.dims[i];
  return py::module_::import("gvm.types")
      .attr("Type")(names[t.dtype], static_cast<int>(t.fraction_bits), shape, t.partial != 0,
                    t.dtype == GVM_I64 ? t.bound : 0);
}

py::bytes to_bytes(const uint8_t* data, uint64_t size) {
  return size == 0 ? py::bytes() : py::bytes(reinterpret_cast<const char*>(data), size);
}

struct View {
  const uint8_t* data;
  size_t size;
};
View view(const py::buffer_info& b) {
  return {static_cast<const uint8_t*>(b.ptr), static_cast<size_t>(b.size * b.itemsize)};
}

std::vector<const void*> pointers(const std::vector<IntegerArray>& arrays) {
  std::vector<const void*> out;
  for (const IntegerArray& a : arrays) {
    if ((a.flags() & py::array::c_style) == 0) throw py::value_error("arrays must be C-contiguous");
    out.push_back(a.data());
  }
  return out;
}

py::dtype numpy_type(const gvm_type& t) {
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

std::vector<py::ssize_t> shape_of(const gvm_type& t, int64_t batch) {
  std::vector<py::ssize_t> shape;
  for (int i = 0; i < t.rank; ++i) shape.push_back(t.dims[i] == -1 ? batch : t.dims[i]);
  return shape;
}

// Refuses arrays that are not what the program declares: the core trusts its pointers.
void check_array(const IntegerArray& a, const gvm_type& t, int64_t batch, const char* section,
                 size_t index) {
  const std::vector<py::ssize_t> want = shape_of(t, batch);
  bool same = static_cast<size_t>(a.ndim()) == want.size() && a.dtype().is(numpy_type(t));
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

py::list infer(uint16_t opcode, const std::vector<py::object>& types,
               const py::sequence& attributes, uint64_t max_batch, int64_t node) {
  const AttributeList a(attributes);
  std::vector<gvm_type> in;
  for (const py::object& t : types) in.push_back(to_type(t));
  gvm_type out[16];
  uint32_t count = 16;
  gvm_error error;
  check(gvm_operator_infer(opcode, &a.raw, in.data(), static_cast<uint32_t>(in.size()), max_batch,
                           node, out, &count, nullptr, &error),
        error);
  py::list result;
  for (uint32_t i = 0; i < count; ++i) result.append(from_type(out[i]));
  return result;
}

py::tuple run_operator(uint16_t opcode, const py::sequence& attributes,
                       const std::vector<std::pair<py::object, IntegerArray>>& inputs,
                       uint64_t local, uint64_t offset, uint64_t batch, uint64_t seed,
                       uint64_t step, uint32_t site, int level, uint32_t threads) {
  const AttributeList a(attributes);
  std::vector<gvm_type> in;
  std::vector<IntegerArray> arrays;
  for (size_t i = 0; i < inputs.size(); ++i) {
    in.push_back(to_type(inputs[i].first));
    arrays.push_back(inputs[i].second);
    check_array(arrays.back(), in.back(), static_cast<int64_t>(local), "input", i);
  }
  gvm_type out[16];
  uint32_t count = 16;
  gvm_error error;
  check(gvm_operator_infer(opcode, &a.raw, in.data(), static_cast<uint32_t>(in.size()), batch, -1,
                           out, &count, nullptr, &error),
        error);
  std::vector<void*> outputs;
  py::list result;
  for (uint32_t i = 0; i < count; ++i) {
    IntegerArray made(numpy_type(out[i]), shape_of(out[i], static_cast<int64_t>(local)));
    outputs.push_back(made.mutable_data());
    result.append(made);
  }
  const gvm_batch where = {sizeof where, local, offset, batch, seed, step};
  const gvm_options options = {sizeof options, threads, level};
  int64_t clamps = 0;
  const std::vector<const void*> ins = pointers(arrays);
  check(gvm_operator_run(opcode, &a.raw, in.data(), ins.data(), static_cast<uint32_t>(in.size()),
                         &where, site, &options, outputs.data(), &clamps, &error),
        error);
  return py::make_tuple(result, clamps);
}

class Program {
 public:
  Program(const py::buffer& bytes, const std::optional<py::dict>& limits) {
    const py::buffer_info info = bytes.request();
    const View b = view(info);
    gvm_limits most = {sizeof most, 0, 0, 0, 0, 0};
    if (limits) {
      const auto get = [&](const char* key) {
        return limits->contains(key) ? (*limits)[key].cast<uint64_t>() : 0;
      };
      most = {sizeof most,         get("program_bytes"), get("nodes"), get("parameter_bytes"),
              get("memory_bytes"), get("multiply_adds")};
    }
    gvm_error error;
    check(gvm_program_new(b.data, b.size, &most, &program_, &error), error);
    info_.struct_size = sizeof info_;
    check(gvm_program_get_info(program_, &info_), "program info");
  }
  ~Program() { gvm_program_free(program_); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  const gvm_program* raw() const { return program_; }
  const gvm_program_info& raw_info() const { return info_; }

  py::dict info() const {
    py::dict d;
    d["max_batch"] = info_.max_batch;
    d["parameter_bytes"] = info_.parameter_bytes;
    d["state_bytes"] = info_.state_bytes;
    d["totals"] = info_.totals;
    d["segments"] = info_.segments;
    d["loss_outputs"] = info_.loss_outputs;
    d["has_apply"] = info_.has_apply != 0;
    d["sites"] = info_.sites;
    d["graph_id"] = to_bytes(info_.graph_id, GVM_ID_BYTES);
    d["train_id"] = to_bytes(info_.train_id, GVM_ID_BYTES);
    return d;
  }

  gvm_tensor_info tensor(int section, uint32_t index) const {
    gvm_tensor_info t;
    t.struct_size = sizeof t;
    check(gvm_program_get_tensor(program_, section, index, &t), "tensor info");
    return t;
  }

  // (type, offset, segment) of every tensor of a section.
  py::list tensors(int section) const {
    const uint32_t counts[] = {info_.inputs, info_.labels,  info_.parameters,
                               info_.state,  info_.outputs, info_.total_tensors};
    if (section < 0 || section > 5) throw py::value_error("section must be in [0, 5]");
    py::list result;
    for (uint32_t i = 0; i < counts[section]; ++i) {
      const gvm_tensor_info t = tensor(section, i);
      result.append(py::make_tuple(from_type(t.type), t.offset, t.segment));
    }
    return result;
  }

  py::dict cost(int function, uint64_t batch) const {
    gvm_cost c;
    c.struct_size = sizeof c;
    check(gvm_program_get_cost(program_, function, batch, &c),
          "cost: the batch must be in [1, max_batch]");
    py::dict d;
    d["nodes"] = c.nodes;
    d["multiply_adds"] = c.multiply_adds;
    d["bytes_moved"] = c.bytes_moved;
    d["peak_bytes"] = c.peak_bytes;
    return d;
  }

  py::bytes parameters_id(const py::buffer& bytes) const {
    const py::buffer_info info = bytes.request();
    const View b = view(info);
    uint8_t id[GVM_ID_BYTES];
    gvm_error error;
    check(gvm_program_parameters_id(program_, b.data, b.size, id, &error), error);
    return to_bytes(id, GVM_ID_BYTES);
  }

 private:
  gvm_program* program_ = nullptr;
  gvm_program_info info_;
};

class Session {
 public:
  Session(const Program& program, uint32_t threads, int level) : program_(program) {
    const gvm_options options = {sizeof options, threads, level};
    gvm_error error;
    check(gvm_session_new(program.raw(), &options, &session_, &error), error);
  }
  ~Session() { gvm_session_free(session_); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void write(int section, const py::buffer& bytes) {
    const py::buffer_info info = bytes.request();
    const View b = view(info);
    gvm_error error;
    check(gvm_session_write(session_, section, b.data, b.size, &error), error);
  }

  py::bytes read(int section) const {
    const uint64_t size = section == GVM_STATE ? program_.raw_info().state_bytes
                                               : program_.raw_info().parameter_bytes;
    std::string bytes(size, '\0');
    gvm_error error;
    check(gvm_session_read(session_, section, reinterpret_cast<uint8_t*>(&bytes[0]), size, &error),
          error);
    return py::bytes(bytes);
  }

  py::list predict(const std::vector<IntegerArray>& inputs) {
    const int64_t n = examples(inputs, GVM_INPUTS, program_.raw_info().inputs, "input");
    py::list result;
    std::vector<void*> outputs;
    for (uint32_t i = 0; i < program_.raw_info().outputs; ++i) {
      const gvm_tensor_info t = program_.tensor(GVM_OUTPUTS, i);
      IntegerArray made(numpy_type(t.type), shape_of(t.type, n));
      outputs.push_back(made.mutable_data());
      result.append(made);
    }
    const std::vector<const void*> in = pointers(inputs);
    gvm_error error;
    int status;
    {
      py::gil_scoped_release release;
      status = gvm_session_predict(session_, in.data(), static_cast<uint64_t>(n), outputs.data(),
                                   &error);
    }
    check(status, error);
    return result;
  }

  py::tuple loss(const std::vector<IntegerArray>& inputs, const std::vector<IntegerArray>& labels) {
    const int64_t n = examples(inputs, GVM_INPUTS, program_.raw_info().inputs, "input");
    check_labels(labels, n);
    const std::vector<const void*> in = pointers(inputs), la = pointers(labels);
    gvm_loss sum = {0, 0, 0};
    gvm_error error;
    int status;
    {
      py::gil_scoped_release release;
      status =
          gvm_session_loss(session_, in.data(), la.data(), static_cast<uint64_t>(n), &sum, &error);
    }
    check(status, error);
    return py::make_tuple(sum.total, sum.count, sum.correct);
  }

  void apply(const Totals& totals, uint64_t seed, uint64_t step) {
    check_totals(totals);
    gvm_error error;
    int status;
    {
      py::gil_scoped_release release;
      status = gvm_session_apply(session_, totals.data(), seed, step, &error);
    }
    check(status, error);
  }

  std::vector<int64_t> clamps(int function) const {
    gvm_cost c;
    c.struct_size = sizeof c;
    check(gvm_program_get_cost(program_.raw(), function, 1, &c), "clamps: no such function");
    std::vector<int64_t> counts(c.nodes + 1);
    gvm_error error;
    check(gvm_session_get_clamps(session_, function, counts.data(), c.nodes, &error), error);
    counts.pop_back();
    return counts;
  }

  std::string plan(int function, uint64_t batch) {
    const int64_t length = gvm_session_plan(session_, function, batch, nullptr, 0);
    if (length < 0) raise(static_cast<int>(length), "plan: no such function or batch");
    std::string text(static_cast<size_t>(length) + 1, '\0');
    gvm_session_plan(session_, function, batch, &text[0], text.size());
    text.pop_back();
    return text;
  }

  int64_t examples(const std::vector<IntegerArray>& arrays, int section, uint32_t count,
                   const char* name) const {
    if (arrays.size() != count) {
      const std::string text = std::string(name) + "s: expected " + std::to_string(count) +
                               ", received " + std::to_string(arrays.size());
      raise(GVM_BAD_INPUT, text.c_str());
    }
    int64_t n = 0;
    for (uint32_t i = 0; i < count; ++i) {
      const gvm_tensor_info t = program_.tensor(section, i);
      if (i == 0) {
        for (int d = 0; d < t.type.rank; ++d) {
          if (t.type.dims[d] == -1 && d < arrays[0].ndim()) n = arrays[0].shape(d);
        }
      }
      check_array(arrays[i], t.type, n, name, i);
    }
    return n;
  }

  void check_labels(const std::vector<IntegerArray>& labels, int64_t n) const {
    if (labels.size() != program_.raw_info().labels)
      raise(GVM_BAD_INPUT, "labels: wrong number of arrays");
    for (uint32_t i = 0; i < labels.size(); ++i)
      check_array(labels[i], program_.tensor(GVM_LABELS, i).type, n, "label", i);
  }

  void check_totals(const Totals& totals) const {
    if (static_cast<uint64_t>(totals.size()) != program_.raw_info().totals)
      raise(GVM_BAD_CALL, "totals: wrong size");
  }

  gvm_session* raw() { return session_; }
  const Program& program() const { return program_; }

 private:
  const Program& program_;
  gvm_session* session_ = nullptr;
};

class Shard {
 public:
  Shard(Session& session, const std::vector<IntegerArray>& inputs,
        const std::vector<IntegerArray>& labels, uint64_t offset, uint64_t global, uint64_t seed,
        uint64_t step)
      : session_(session), inputs_(inputs), labels_(labels) {
    const int64_t n =
        session.examples(inputs, GVM_INPUTS, session.program().raw_info().inputs, "input");
    session.check_labels(labels, n);
    const std::vector<const void*> in = pointers(inputs_), la = pointers(labels_);
    const gvm_batch where = {sizeof where, static_cast<uint64_t>(n), offset, global, seed, step};
    gvm_error error;
    check(gvm_shard_new(session.raw(), &where, in.data(), la.data(), &shard_, &error), error);
  }
  ~Shard() { gvm_shard_free(shard_); }
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  void run(uint32_t segment, const Totals& totals, Totals& sums) {
    session_.check_totals(totals);
    session_.check_totals(sums);
    int64_t* out = sums.mutable_data();
    gvm_error error;
    int status;
    {
      py::gil_scoped_release release;
      status = gvm_shard_run(shard_, segment, totals.data(), out, &error);
    }
    check(status, error);
  }

 private:
  Session& session_;
  std::vector<IntegerArray> inputs_, labels_;
  gvm_shard* shard_ = nullptr;
};

py::tuple parse_file(const py::buffer& bytes) {
  const py::buffer_info info = bytes.request();
  const View b = view(info);
  gvm_file f;
  f.struct_size = sizeof f;
  gvm_error error;
  check(gvm_file_parse(b.data, b.size, &f, &error), error);
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

PYBIND11_MODULE(_gvm, m) {
  m.doc() = "The compiled core, through gvm.h.";
  m.attr("ABI_VERSION") = gvm_abi_version();
  m.attr("SEMANTICS_VERSION") = static_cast<int>(GVM_SEMANTICS_VERSION);
  m.def("version", &gvm_version);
  m.def("cpu_level", &gvm_cpu_level,
        "The highest CPU level of this machine: 0 scalar, 1 AVX2, 2 AVX-512.");
  m.def("infer", &infer, py::arg("opcode"), py::arg("types"), py::arg("attributes"),
        py::arg("max_batch"), py::arg("node") = -1);
  m.def("run_operator", &run_operator, py::arg("opcode"), py::arg("attributes"), py::arg("inputs"),
        py::arg("local"), py::arg("offset"), py::arg("batch"), py::arg("seed"), py::arg("step"),
        py::arg("site"), py::arg("level"), py::arg("threads"));
  m.def("blake3", [](const py::buffer& bytes) {
    const py::buffer_info info = bytes.request();
    const View b = view(info);
    uint8_t id[GVM_ID_BYTES];
    gvm_blake3(b.data, b.size, id);
    return to_bytes(id, GVM_ID_BYTES);
  });
  m.def("random_words", [](uint64_t seed, uint32_t site, uint64_t step, uint32_t purpose,
                           uint64_t first, size_t count) {
    Words words(static_cast<py::ssize_t>(count));
    check(gvm_random_words(seed, site, step, purpose, first, words.mutable_data(), count),
          "random_words: an argument is out of range");
    return words;
  });
  m.def("unary_table", [](int function, int in_bits, int out_bits, int bits) {
    py::array_t<int32_t> table(65536);
    py::array_t<uint8_t> clamped(65536);
    check(gvm_unary_table(function, in_bits, out_bits, bits, table.mutable_data(),
                          clamped.mutable_data()),
          "unary_table: an argument is out of range");
    return py::make_tuple(table, clamped);
  });
  m.def("parse_file", &parse_file);
  m.def("write_file", &write_file);
  py::class_<Program>(m, "Program")
      .def(py::init<const py::buffer&, const std::optional<py::dict>&>(), py::arg("bytes"),
           py::arg("limits") = py::none())
      .def("info", &Program::info)
      .def("tensors", &Program::tensors)
      .def("cost", &Program::cost)
      .def("parameters_id", &Program::parameters_id);
  py::class_<Session>(m, "Session")
      .def(py::init<const Program&, uint32_t, int>(), py::arg("program"), py::arg("threads") = 0,
           py::arg("level") = -1, py::keep_alive<1, 2>())
      .def("write", &Session::write)
      .def("read", &Session::read)
      .def("predict", &Session::predict)
      .def("loss", &Session::loss)
      .def("apply", &Session::apply)
      .def("clamps", &Session::clamps)
      .def("plan", &Session::plan);
  py::class_<Shard>(m, "Shard")
      .def(py::init<Session&, const std::vector<IntegerArray>&, const std::vector<IntegerArray>&,
                    uint64_t, uint64_t, uint64_t, uint64_t>(),
           py::arg("session"), py::arg("inputs"), py::arg("labels"), py::arg("offset"),
           py::arg("batch"), py::arg("seed"), py::arg("step"), py::keep_alive<1, 2>())
      .def("run", &Shard::run, py::arg("segment"), py::arg("totals"), py::arg("sums").noconvert());
}
