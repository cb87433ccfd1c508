// Python bindings: a guest of gvm.h like any other host. No logic; arrays in and out without
// copies.
#include "bindings.h"

#include <mutex>
#include <optional>

using gvm_python::AttributeList;
using gvm_python::Bytes;
using gvm_python::check;
using gvm_python::check_array;
using gvm_python::from_type;
using gvm_python::IntegerArray;
using gvm_python::numpy_type;
using gvm_python::pointers;
using gvm_python::raise;
using gvm_python::shape_of;
using gvm_python::to_bytes;
using gvm_python::to_type;
using gvm_python::Totals;
using gvm_python::Words;

namespace {

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
    const Bytes b(bytes);
    gvm_limits most = {sizeof most, 0, 0, 0, 0, 0};
    const struct {
      const char* key;
      uint64_t* value;
    } known[] = {{"program_bytes", &most.program_bytes},
                 {"nodes", &most.nodes},
                 {"parameter_bytes", &most.parameter_bytes},
                 {"memory_bytes", &most.memory_bytes},
                 {"multiply_adds", &most.multiply_adds}};
    for (const auto& item : limits.value_or(py::dict())) {
      uint64_t* value = nullptr;
      for (const auto& k : known) {
        if (item.first.cast<std::string>() == k.key) value = k.value;
      }
      if (value == nullptr) throw py::value_error("limits: a key that gvm_limits does not have");
      *value = item.second.cast<uint64_t>();
    }
    gvm_error error;
    check(gvm_program_new(b.data(), b.size(), &most, &program_, &error), error);
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
    const Bytes b(bytes);
    uint8_t id[GVM_ID_BYTES];
    gvm_error error;
    check(gvm_program_parameters_id(program_, b.data(), b.size(), id, &error), error);
    return to_bytes(id, GVM_ID_BYTES);
  }

 private:
  gvm_program* program_ = nullptr;
  gvm_program_info info_;
};

class Session {
 public:
  // Calls f() without the interpreter's lock, one thread at a time.
  template <typename F>
  auto locked(F f) const {
    const py::gil_scoped_release release;
    const std::lock_guard<std::mutex> lock(mutex_);
    return f();
  }

  Session(const Program& program, uint32_t threads, int level) : program_(program) {
    const gvm_options options = {sizeof options, threads, level};
    gvm_error error;
    check(gvm_session_new(program.raw(), &options, &session_, &error), error);
  }
  ~Session() { gvm_session_free(session_); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void write(int section, const py::buffer& bytes) {
    const Bytes b(bytes);
    gvm_error error;
    check(locked([&] { return gvm_session_write(session_, section, b.data(), b.size(), &error); }),
          error);
  }

  py::bytes read(int section) const {
    const uint64_t size = section == GVM_STATE ? program_.raw_info().state_bytes
                                               : program_.raw_info().parameter_bytes;
    std::string bytes(size, '\0');
    gvm_error error;
    uint8_t* to = reinterpret_cast<uint8_t*>(&bytes[0]);
    check(locked([&] { return gvm_session_read(session_, section, to, size, &error); }), error);
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
    check(locked([&] {
            return gvm_session_predict(session_, in.data(), static_cast<uint64_t>(n),
                                       outputs.data(), &error);
          }),
          error);
    return result;
  }

  py::tuple loss(const std::vector<IntegerArray>& inputs, const std::vector<IntegerArray>& labels) {
    const int64_t n = examples(inputs, GVM_INPUTS, program_.raw_info().inputs, "input");
    check_labels(labels, n);
    const std::vector<const void*> in = pointers(inputs), la = pointers(labels);
    gvm_loss sum = {0, 0, 0};
    gvm_error error;
    check(locked([&] {
            return gvm_session_loss(session_, in.data(), la.data(), static_cast<uint64_t>(n), &sum,
                                    &error);
          }),
          error);
    return py::make_tuple(sum.total, sum.count, sum.correct);
  }

  void apply(const Totals& totals, uint64_t seed, uint64_t step) {
    check_totals(totals);
    gvm_error error;
    check(locked([&] { return gvm_session_apply(session_, totals.data(), seed, step, &error); }),
          error);
  }

  Totals step(const std::vector<IntegerArray>& inputs, const std::vector<IntegerArray>& labels,
              uint64_t seed, uint64_t step, size_t count) {
    const int64_t n = examples(inputs, GVM_INPUTS, program_.raw_info().inputs, "input");
    check_labels(labels, n);
    const std::vector<const void*> in = pointers(inputs), la = pointers(labels);
    const uint64_t all = static_cast<uint64_t>(n);
    const gvm_batch where = {sizeof where, all, 0, all, seed, step};
    Totals head(static_cast<py::ssize_t>(count));
    int64_t* to = head.mutable_data();
    gvm_error error;
    check(locked([&] {
            return gvm_session_step(session_, &where, in.data(), la.data(), to, count, &error);
          }),
          error);
    return head;
  }

  // claims: (node, sums) as i32 or i64 arrays.
  py::tuple check_step(const std::vector<IntegerArray>& inputs,
                       const std::vector<IntegerArray>& labels, uint64_t seed, uint64_t step,
                       const std::vector<std::pair<uint32_t, IntegerArray>>& claims,
                       const py::buffer& key) {
    const int64_t n = examples(inputs, GVM_INPUTS, program_.raw_info().inputs, "input");
    check_labels(labels, n);
    const std::vector<const void*> in = pointers(inputs), la = pointers(labels);
    const uint64_t all = static_cast<uint64_t>(n);
    const gvm_batch where = {sizeof where, all, 0, all, seed, step};
    const std::vector<gvm_claim> given = gvm_python::to_claims(claims);
    const Bytes secret(key);
    check(secret.size() == 32 ? GVM_OK : GVM_BAD_CALL, "check_step: the key must have 32 bytes");
    gvm_finding found;
    gvm_error error;
    check(locked([&] {
            return gvm_session_check_step(session_, &where, in.data(), la.data(), given.data(),
                                          given.size(), secret.data(), &found, &error);
          }),
          error);
    return py::make_tuple(found.checked, found.node, found.element, found.claimed, found.computed);
  }

  std::vector<int64_t> clamps(int function) const {
    gvm_cost c;
    c.struct_size = sizeof c;
    check(gvm_program_get_cost(program_.raw(), function, 1, &c), "clamps: no such function");
    std::vector<int64_t> counts(c.nodes + 1);
    gvm_error error;
    check(locked([&] {
            return gvm_session_get_clamps(session_, function, counts.data(), c.nodes, &error);
          }),
          error);
    counts.pop_back();
    return counts;
  }

  void set_profile(bool on) {
    gvm_error error;
    check(locked([&] { return gvm_session_set_profile(session_, on ? 1 : 0, &error); }), error);
  }

  py::list profile() const {
    std::vector<gvm_step_time> steps;
    locked([&] {
      steps.resize(static_cast<size_t>(gvm_session_get_profile(session_, nullptr, 0)));
      return static_cast<int>(gvm_session_get_profile(session_, steps.data(), steps.size()) < 0);
    });
    py::list result;
    for (const gvm_step_time& s : steps) {
      py::list nodes;
      for (int node : s.nodes) {
        if (node >= 0) nodes.append(node);
      }
      result.append(py::make_tuple(s.function, nodes, s.begin, s.end,
                                   py::make_tuple(s.tiles[0], s.tiles[1], s.tiles[2], s.tiles[3])));
    }
    return result;
  }

  std::string plan(int function, uint64_t batch) {
    const auto write = [&](char* to, size_t size) {
      return locked([&] { return gvm_session_plan(session_, function, batch, to, size); });
    };
    const int64_t length = write(nullptr, 0);
    if (length < 0) raise(static_cast<int>(length), "plan: no such function or batch");
    std::string text(static_cast<size_t>(length) + 1, '\0');
    write(&text[0], text.size());
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
    // The first input with a batch axis says how many examples there are; without any there is one.
    int64_t n = -1;
    for (uint32_t i = 0; i < count; ++i) {
      const gvm_tensor_info t = program_.tensor(section, i);
      for (int d = 0; d < t.type.rank && n < 0; ++d) {
        if (t.type.dims[d] == -1 && d < arrays[i].ndim()) n = arrays[i].shape(d);
      }
      check_array(arrays[i], t.type, n, name, i);
    }
    return n < 0 ? 1 : n;
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
  mutable std::mutex mutex_;
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
    check(session.locked([&] {
      return gvm_shard_new(session.raw(), &where, in.data(), la.data(), &shard_, &error);
    }),
          error);
  }
  ~Shard() {
    session_.locked([&] {
      gvm_shard_free(shard_);
      return 0;
    });
  }
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  void run(uint32_t segment, const Totals& totals, Totals& sums) {
    session_.check_totals(totals);
    session_.check_totals(sums);
    int64_t* out = sums.mutable_data();
    gvm_error error;
    check(
        session_.locked([&] { return gvm_shard_run(shard_, segment, totals.data(), out, &error); }),
        error);
  }

 private:
  Session& session_;
  std::vector<IntegerArray> inputs_, labels_;
  gvm_shard* shard_ = nullptr;
};

}  // namespace

PYBIND11_MODULE(_gvm, m) {
  m.doc() = "The compiled core, through gvm.h.";
  m.attr("ABI_VERSION") = gvm_abi_version();
  m.attr("SEMANTICS_VERSION") = static_cast<int>(GVM_SEMANTICS_VERSION);
  m.def("version", &gvm_version);
  m.def("cpu_level", &gvm_cpu_level,
        "The highest CPU level of this machine: 0 scalar, 1 AVX2, 2 AVX-512.");
  m.def(
      "device_count",
      [] {
        const char* why = nullptr;
        const int count = gvm_device_count(&why);
        return py::make_tuple(count, why);
      },
      "How many devices there are, and why there are none.");
  m.def("infer", &infer, py::arg("opcode"), py::arg("types"), py::arg("attributes"),
        py::arg("max_batch"), py::arg("node") = -1);
  m.def("run_operator", &run_operator, py::arg("opcode"), py::arg("attributes"), py::arg("inputs"),
        py::arg("local"), py::arg("offset"), py::arg("batch"), py::arg("seed"), py::arg("step"),
        py::arg("site"), py::arg("level"), py::arg("threads"));
  m.def("blake3", [](const py::buffer& bytes) {
    const Bytes b(bytes);
    uint8_t id[GVM_ID_BYTES];
    gvm_blake3(b.data(), b.size(), id);
    return to_bytes(id, GVM_ID_BYTES);
  });
  gvm_python::bind_trees(m);
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
  gvm_python::bind_files(m);
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
      .def("step", &Session::step, py::arg("inputs"), py::arg("labels"), py::arg("seed"),
           py::arg("step"), py::arg("count"))
      .def("apply", &Session::apply)
      .def("check_step", &Session::check_step)
      .def("clamps", &Session::clamps)
      .def("set_profile", &Session::set_profile)
      .def("profile", &Session::profile)
      .def("plan", &Session::plan);
  py::class_<Shard>(m, "Shard")
      .def(py::init<Session&, const std::vector<IntegerArray>&, const std::vector<IntegerArray>&,
                    uint64_t, uint64_t, uint64_t, uint64_t>(),
           py::arg("session"), py::arg("inputs"), py::arg("labels"), py::arg("offset"),
           py::arg("batch"), py::arg("seed"), py::arg("step"), py::keep_alive<1, 2>())
      .def("run", &Shard::run, py::arg("segment"), py::arg("totals"), py::arg("sums").noconvert());
}
