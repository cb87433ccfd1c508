#include "program.h"

#include <cstring>
#include <limits>
#include <string>

#include "cbor.h"
#include "plan.h"

namespace gvm {

size_t Function::node_count() const {
  size_t n = 0;
  for (const Segment& s : segments) n += s.nodes.size();
  return n;
}

namespace {

const char* const kFunctionNames[kFunctions] = {"predict", "loss", "grad", "apply"};

// Reads one program. Every method returns false after the first violation.
class Loader {
 public:
  Loader(const uint8_t* bytes, size_t size, const Limits& limits, Program* program, Error* error)
      : bytes_(bytes), reader_(bytes, size), limits_(limits), p_(program), error_(error) {}

  bool load() {
    size_t keys = 0;
    if (!reader_.read_map(&keys)) return encoding();
    if (keys != 7 && keys != 10) {
      return error_->fail(Status::bad_encoding, "program: a map of 7 or 10 keys, received %zu",
                          keys);
    }
    const bool trains = keys == 10;
    // Functions come before the types they use in canonical key order: remember where they stand.
    if (trains && !span("grad", &grad_)) return false;
    if (!span("loss", &loss_)) return false;
    if (trains && (!span("apply", &apply_) || !read_layout("state", &p_->state, &state_)))
      return false;
    if (!read_types("inputs", &p_->inputs, &inputs_) ||
        !read_types("labels", &p_->labels, &labels_)) {
      return false;
    }
    if (!span("predict", &predict_)) return false;
    if (!read_count("max_batch", 1, kMaxBatchLimit, &p_->max_batch, &max_batch_)) return false;
    int64_t semantics = 0;
    if (!read_count("semantics", 0, std::numeric_limits<int64_t>::max(), &semantics, &semantics_)) {
      return false;
    }
    if (semantics != kSemanticsVersion) {
      return error_->fail(
          Status::unknown_semantics, "program: semantics version must be %lld, received %lld",
          static_cast<long long>(kSemanticsVersion), static_cast<long long>(semantics));
    }
    if (!read_layout("parameters", &p_->parameters, &parameters_)) return false;
    if (!reader_.finish()) return encoding();
    if (p_->parameters.bytes + p_->state.bytes > limits_.parameter_bytes) {
      return error_->fail(Status::over_limit,
                          "program: parameters and state of %llu bytes, the limit is %llu",
                          static_cast<unsigned long long>(p_->parameters.bytes + p_->state.bytes),
                          static_cast<unsigned long long>(limits_.parameter_bytes));
    }
    for (const Type& t : p_->inputs) {
      if (!t.batched())
        return error_->fail(Status::bad_batch, "program: every input must have a batch axis");
    }
    for (const Type& t : p_->labels) {
      if (!t.batched())
        return error_->fail(Status::bad_batch, "program: every label must have a batch axis");
    }
    return read_functions(trains) && identify(trains);
  }

 private:
  struct Span {
    size_t begin = 0, end = 0;
  };

  bool encoding() {
    if (!error_->ok()) return false;
    return error_->fail(Status::bad_encoding, "program, byte %zu: %s",
                        base_ + reader_.error_offset(),
                        reader_.error() != nullptr ? reader_.error() : "bytes after the end");
  }

  bool span(const char* key, Span* out) {
    if (!reader_.expect_key(key)) return encoding();
    out->begin = reader_.offset();
    if (!reader_.skip()) return encoding();
    out->end = reader_.offset();
    return true;
  }

  bool read_count(const char* key, int64_t minimum, int64_t maximum, int64_t* value, Span* where) {
    if (!reader_.expect_key(key)) return encoding();
    where->begin = reader_.offset();
    if (!reader_.read_int(value)) return encoding();
    where->end = reader_.offset();
    if (*value < minimum || *value > maximum) {
      return error_->fail(Status::bad_graph, "program: %s must be in [%lld, %lld], received %lld",
                          key, static_cast<long long>(minimum), static_cast<long long>(maximum),
                          static_cast<long long>(*value));
    }
    return true;
  }

  bool read_types(const char* key, std::vector<Type>* types, Span* where) {
    size_t count = 0;
    if (!reader_.expect_key(key)) return encoding();
    where->begin = reader_.offset();
    if (!reader_.read_array(&count)) return encoding();
    for (size_t i = 0; i < count; ++i) {
      Type type;
      if (!read_type(key, i, &type)) return false;
      types->push_back(type);
    }
    where->end = reader_.offset();
    return true;
  }

  bool read_type(const char* key, size_t index, Type* type) {
    int64_t dtype = 0, fraction_bits = 0;
    size_t rank = 0;
    if (!reader_.read_array_of(3) || !reader_.read_int(&dtype) ||
        !reader_.read_int(&fraction_bits) || !reader_.read_array(&rank)) {
      return encoding();
    }
    // i64 values carry proofs, so none may come from outside.
    const bool known = dtype == 1 || dtype == 2 || dtype == 4 || dtype == 5;
    if (!known) {
      return error_->fail(Status::bad_type,
                          "%s %zu: element type must be i16, i32, u8 or bool, received %lld", key,
                          index, static_cast<long long>(dtype));
    }
    if (fraction_bits < kMinFractionBits || fraction_bits > kMaxFractionBits) {
      return error_->fail(
          Status::bad_type, "%s %zu: fraction bits must be in [%d, %d], received %lld", key, index,
          kMinFractionBits, kMaxFractionBits, static_cast<long long>(fraction_bits));
    }
    if (rank > kMaxRank) {
      return error_->fail(Status::bad_shape, "%s %zu: rank must be at most %d, received %zu", key,
                          index, kMaxRank, rank);
    }
    std::vector<int64_t> dims;
    int batch_axes = 0;
    for (size_t i = 0; i < rank; ++i) {
      int64_t d = 0;
      if (!reader_.read_int(&d)) return encoding();
      batch_axes += d == kBatch ? 1 : 0;
      if (d != kBatch && (d < 1 || d > kMaxElements)) {
        return error_->fail(Status::bad_shape,
                            "%s %zu: dimension %zu must be -1 or in [1, 2^42], received %lld", key,
                            index, i, static_cast<long long>(d));
      }
      dims.push_back(d);
    }
    if (batch_axes > 1) {
      return error_->fail(Status::bad_batch, "%s %zu: at most one batch axis, received %d", key,
                          index, batch_axes);
    }
    *type = make_type(static_cast<DType>(dtype), static_cast<int>(fraction_bits), dims);
    const int64_t most = type->batched() ? kMaxBatchLimit : 1;
    if (saturating_mul(type->elements_per_example(), most) > kMaxElements) {
      return error_->fail(Status::bad_shape, "%s %zu: at most 2^42 elements", key, index);
    }
    return true;
  }

  bool read_layout(const char* key, Layout* layout, Span* where) {
    if (!read_types(key, &layout->types, where)) return false;
    for (size_t i = 0; i < layout->types.size(); ++i) {
      const Type& t = layout->types[i];
      if (t.batched())
        return error_->fail(Status::bad_batch, "%s %zu: must not have a batch axis", key, i);
      layout->offsets.push_back(layout->bytes);
      const uint64_t bytes = static_cast<uint64_t>(t.elements_per_example()) *
                             static_cast<uint64_t>(dtype_bytes(t.dtype));
      layout->bytes += (bytes + kAlignment - 1) / kAlignment * kAlignment;
      if (layout->bytes > limits_.parameter_bytes) {
        return error_->fail(Status::over_limit, "%s: more than %llu bytes", key,
                            static_cast<unsigned long long>(limits_.parameter_bytes));
      }
    }
    return true;
  }

  static void append(std::vector<Type>* to, const std::vector<Type>& types) {
    to->insert(to->end(), types.begin(), types.end());
  }

  bool read_functions(bool trains) {
    Function* f = p_->functions;
    append(&f[kPredict].values, p_->inputs);
    append(&f[kPredict].values, p_->parameters.types);
    if (!read_function(kPredict, predict_)) return false;
    for (int v : f[kPredict].outputs) {
      if (f[kPredict].values[static_cast<size_t>(v)].partial) {
        return error_->fail(Status::bad_batch, "predict: an output must not be partial");
      }
    }
    append(&f[kLoss].values, p_->inputs);
    append(&f[kLoss].values, p_->labels);
    append(&f[kLoss].values, p_->parameters.types);
    if (!is_null(loss_)) {
      if (!read_function(kLoss, loss_) || !check_loss(f[kLoss])) return false;
    } else if (trains || !p_->labels.empty()) {
      return error_->fail(Status::bad_graph, "program: labels and grad need a loss");
    }
    if (!trains) return true;
    f[kGrad].values = f[kLoss].values;
    f[kGrad].values.resize(p_->inputs.size() + p_->labels.size() + p_->parameters.types.size());
    if (!read_grad()) return false;
    append(&f[kApply].values, p_->parameters.types);
    append(&f[kApply].values, p_->state.types);
    for (const TotalInfo& t : p_->totals) f[kApply].values.push_back(t.type);
    if (is_null(apply_)) {
      if (!p_->state.types.empty())
        return error_->fail(Status::bad_graph, "program: state needs apply");
      return true;
    }
    return read_function(kApply, apply_) && check_apply(f[kApply]);
  }

  bool is_null(const Span& s) const { return s.end - s.begin == 1 && bytes_[s.begin] == 0xf6; }

  void begin(const Span& s) {
    reader_ = CborReader(bytes_ + s.begin, s.end - s.begin);
    base_ = s.begin;
  }

  bool read_function(FunctionKind kind, const Span& where) {
    Function& f = p_->functions[kind];
    f.given = static_cast<int>(f.values.size());
    begin(where);
    f.segments.emplace_back();
    if (!reader_.read_map_of(2) || !reader_.expect_key("nodes")) return encoding();
    if (!read_nodes(kind, &f)) return false;
    if (!reader_.expect_key("outputs") || !read_values(f, &f.outputs)) return encoding();
    if (!reader_.finish()) return encoding();
    return check_use(kind, f) && check_cost(kind, f);
  }

  bool read_grad() {
    Function& f = p_->functions[kGrad];
    f.given = static_cast<int>(f.values.size());
    begin(grad_);
    size_t segments = 0;
    if (!reader_.read_array(&segments)) return encoding();
    if (segments < 1)
      return error_->fail(Status::bad_graph, "grad: at least one segment, received 0");
    for (size_t s = 0; s < segments; ++s) {
      f.segments.emplace_back();
      if (!reader_.read_map_of(2) || !reader_.expect_key("nodes")) return encoding();
      if (!read_nodes(kGrad, &f)) return false;
      Segment& segment = f.segments.back();
      if (!reader_.expect_key("reduce") || !read_values(f, &segment.reduce)) return encoding();
      if (segment.reduce.empty())
        return error_->fail(Status::bad_graph, "grad, segment %zu: reduces nothing", s);
      for (int v : segment.reduce) {
        Type t = f.values[static_cast<size_t>(v)];
        if (!t.partial) {
          return error_->fail(Status::bad_batch,
                              "grad, segment %zu: value %d is not partial, it cannot be reduced", s,
                              v);
        }
        t.partial = false;
        segment.totals.push_back(static_cast<int>(f.values.size()));
        f.values.push_back(t);
        p_->totals.push_back({t, p_->total_elements, static_cast<uint32_t>(s)});
        p_->total_elements += static_cast<uint64_t>(t.elements_per_example());
      }
    }
    if (!reader_.finish()) return encoding();
    return check_use(kGrad, f) && check_cost(kGrad, f);
  }

  // A list of value numbers, all of which exist.
  bool read_values(const Function& f, std::vector<int>* values) {
    size_t count = 0;
    if (!reader_.read_array(&count)) return false;
    for (size_t i = 0; i < count; ++i) {
      int64_t v = 0;
      if (!reader_.read_int(&v)) return false;
      if (v < 0 || v >= static_cast<int64_t>(f.values.size())) {
        return error_->fail(Status::bad_graph, "program: value must be in [0, %zu), received %lld",
                            f.values.size(), static_cast<long long>(v));
      }
      values->push_back(static_cast<int>(v));
    }
    return true;
  }

  bool read_nodes(FunctionKind kind, Function* f) {
    size_t count = 0;
    if (!reader_.read_array(&count)) return encoding();
    for (size_t i = 0; i < count; ++i) {
      if (++nodes_ > limits_.nodes) {
        return error_->fail(Status::over_limit, "program: more than %llu nodes",
                            static_cast<unsigned long long>(limits_.nodes));
      }
      if (!read_node(kind, f)) return encoding();
    }
    return true;
  }

  bool read_node(FunctionKind kind, Function* f) {
    const int index = static_cast<int>(f->node_count());
    int64_t opcode = 0;
    if (!reader_.read_array_of(3) || !reader_.read_int(&opcode)) return false;
    const OpInfo* op =
        opcode >= 0 && opcode <= 65535 ? find_op(static_cast<uint16_t>(opcode)) : nullptr;
    if (op == nullptr) {
      return error_->fail(Status::unknown_operator, "%s, node %d: unknown opcode %lld",
                          kFunctionNames[kind], index, static_cast<long long>(opcode));
    }
    Node node{op, {}, {}, {}, 0, {}};
    if (!read_values(*f, &node.inputs) || !read_attributes(*op, index, &node.attributes))
      return false;
    std::vector<Type> in;
    for (int v : node.inputs) in.push_back(f->values[static_cast<size_t>(v)]);
    Check check{*op, node.attributes, in, p_->max_batch, error_, index, {}, {}};
    if (!infer_node(check)) return false;
    if (!check_place(kind, node, check)) return false;
    node.multiply_adds = check.multiply_adds;
    if (kind == kGrad || kind == kApply) {
      if (p_->sites + static_cast<uint32_t>(op->sites) >= (1u << 24)) {
        return error_->fail(Status::bad_graph, "program: more than 2^24 rounding sites");
      }
      node.site = p_->sites;
      p_->sites += static_cast<uint32_t>(op->sites);
    }
    for (const Type& t : check.out) {
      node.outputs.push_back(static_cast<int>(f->values.size()));
      f->values.push_back(t);
    }
    f->segments.back().nodes.push_back(std::move(node));
    return true;
  }

  bool read_attributes(const OpInfo& op, int index, Attributes* attributes) {
    size_t count = 0;
    if (!reader_.read_array(&count)) return false;
    if (count != static_cast<size_t>(op.attribute_count)) {
      return error_->fail(Status::bad_attribute, "%s, node %d: %d attributes, received %zu",
                          op.name, index, op.attribute_count, count);
    }
    for (size_t a = 0; a < count; ++a) {
      std::vector<int64_t> values;
      if (op.attributes[a].is_list) {
        size_t length = 0;
        if (!reader_.read_array(&length)) return false;
        for (size_t i = 0; i < length; ++i) {
          int64_t v = 0;
          if (!reader_.read_int(&v)) return false;
          values.push_back(v);
        }
      } else {
        int64_t v = 0;
        if (!reader_.read_int(&v)) return false;
        values.push_back(v);
      }
      attributes->values.push_back(std::move(values));
    }
    return true;
  }

  // What a function allows beyond what an operator does.
  bool check_place(FunctionKind kind, const Node& node, Check& check) {
    if (kind == kPredict || kind == kLoss) {
      for (int a = 0; a < node.op->attribute_count; ++a) {
        const std::string name = node.op->attributes[a].name;
        if ((name == "rounding" || name == "state_rounding") && node.attributes.get(a) != 0) {
          return check.fail(Status::bad_attribute, "%s in %s must be 0 (nearest), received %lld",
                            name.c_str(), kFunctionNames[kind],
                            static_cast<long long>(node.attributes.get(a)));
        }
      }
    }
    for (const Type& t : check.out) {
      if (kind == kApply && (t.batched() || t.partial)) {
        return check.fail(Status::bad_batch, "apply knows no batch");
      }
      if (t.batched() && saturating_mul(t.elements_per_example(), p_->max_batch) > kMaxElements) {
        return check.fail(Status::bad_shape, "result must have at most 2^42 elements at max_batch");
      }
    }
    return true;
  }

  // Canonical programs have no dead nodes.
  bool check_use(FunctionKind kind, const Function& f) {
    std::vector<bool> used(f.values.size(), false);
    for (int v : f.outputs) used[static_cast<size_t>(v)] = true;
    for (const Segment& s : f.segments) {
      for (int v : s.reduce) used[static_cast<size_t>(v)] = true;
      for (const Node& n : s.nodes) {
        for (int v : n.inputs) used[static_cast<size_t>(v)] = true;
      }
    }
    int index = 0;
    for (const Segment& s : f.segments) {
      for (const Node& n : s.nodes) {
        bool any = false;
        for (int v : n.outputs) any = any || used[static_cast<size_t>(v)];
        if (!any) {
          return error_->fail(Status::bad_graph, "%s, node %d (%s): no result of it is used",
                              kFunctionNames[kind], index, n.op->name);
        }
        ++index;
      }
    }
    if (kind != kGrad && f.outputs.empty()) {
      return error_->fail(Status::bad_graph, "%s: no outputs", kFunctionNames[kind]);
    }
    return true;
  }

  bool check_cost(FunctionKind kind, const Function& f) {
    const Cost cost = function_cost(f, p_->max_batch);
    if (cost.multiply_adds > limits_.multiply_adds) {
      return error_->fail(Status::over_limit,
                          "%s: %llu multiply-adds at max_batch, the limit is %llu",
                          kFunctionNames[kind], static_cast<unsigned long long>(cost.multiply_adds),
                          static_cast<unsigned long long>(limits_.multiply_adds));
    }
    if (cost.peak_bytes > limits_.memory_bytes) {
      return error_->fail(Status::over_limit,
                          "%s: %llu bytes of memory at max_batch, the limit is %llu",
                          kFunctionNames[kind], static_cast<unsigned long long>(cost.peak_bytes),
                          static_cast<unsigned long long>(limits_.memory_bytes));
    }
    return true;
  }

  bool check_loss(const Function& f) {
    if (f.outputs.size() != 2 && f.outputs.size() != 3) {
      return error_->fail(Status::bad_graph,
                          "loss: outputs must be total, count and at most correct, received %zu",
                          f.outputs.size());
    }
    for (size_t i = 0; i < f.outputs.size(); ++i) {
      const Type& t = f.values[static_cast<size_t>(f.outputs[i])];
      const int format = i == 0 ? kLossFractionBits : 0;
      if (!t.partial || t.rank != 0 || t.dtype != DType::i64 || t.fraction_bits != format) {
        return error_->fail(Status::bad_type,
                            "loss: output %zu must be a partial i64 scalar with %d fraction bits",
                            i, format);
      }
    }
    return true;
  }

  bool check_apply(const Function& f) {
    std::vector<Type> wanted = p_->parameters.types;
    append(&wanted, p_->state.types);
    if (f.outputs.size() != wanted.size()) {
      return error_->fail(Status::bad_graph,
                          "apply: one output per parameter and state tensor (%zu), received %zu",
                          wanted.size(), f.outputs.size());
    }
    for (size_t i = 0; i < wanted.size(); ++i) {
      const Type& t = f.values[static_cast<size_t>(f.outputs[i])];
      if (t.dtype != wanted[i].dtype || t.fraction_bits != wanted[i].fraction_bits ||
          !t.same_shape(wanted[i])) {
        return error_->fail(Status::bad_type,
                            "apply: output %zu must have the type of the tensor it replaces", i);
      }
    }
    return true;
  }

  // graph_id covers the map without grad, apply and state; train_id the whole program.
  bool identify(bool trains) {
    const Span* spans[7] = {&loss_,      &inputs_,    &labels_,    &predict_,
                            &max_batch_, &semantics_, &parameters_};
    const char* keys[7] = {"loss",      "inputs",    "labels",    "predict",
                           "max_batch", "semantics", "parameters"};
    Blake3 graph;
    const char domain[] = "gvm.graph.v1\n";
    graph.update(domain, sizeof domain - 1);
    const uint8_t head = 0xa7;
    graph.update(&head, 1);
    for (int i = 0; i < 7; ++i) {
      const uint8_t key = static_cast<uint8_t>(0x60 + std::strlen(keys[i]));
      graph.update(&key, 1);
      graph.update(keys[i], std::strlen(keys[i]));
      graph.update(bytes_ + spans[i]->begin, spans[i]->end - spans[i]->begin);
    }
    p_->graph_id = graph.finalize();
    if (trains) {
      Blake3 train;
      const char train_domain[] = "gvm.train.v1\n";
      train.update(train_domain, sizeof train_domain - 1);
      train.update(bytes_, parameters_.end);
      p_->train_id = train.finalize();
    }
    p_->parameter_types.assign(bytes_ + parameters_.begin, bytes_ + parameters_.end);
    return true;
  }

  const uint8_t* bytes_;
  CborReader reader_;
  const Limits& limits_;
  Program* p_;
  Error* error_;
  size_t base_ = 0;
  uint64_t nodes_ = 0;
  Span grad_, loss_, apply_, state_, inputs_, labels_, predict_, max_batch_, semantics_,
      parameters_;
};

void copy_elements(const uint8_t* from, uint8_t* to, uint64_t elements, int width) {
  const uint16_t probe = 1;
  uint8_t first = 0;
  std::memcpy(&first, &probe, 1);
  if (first == 1 || width == 1) {
    std::memcpy(to, from, elements * static_cast<uint64_t>(width));
    return;
  }
  for (uint64_t e = 0; e < elements; ++e) {
    for (int b = 0; b < width; ++b)
      to[e * static_cast<uint64_t>(width) + static_cast<uint64_t>(b)] =
          from[e * static_cast<uint64_t>(width) + static_cast<uint64_t>(width - 1 - b)];
  }
}

}  // namespace

bool load_program(const uint8_t* bytes, size_t size, const Limits& limits, Program* program,
                  Error* error) {
  if (size > limits.program_bytes) {
    return error->fail(Status::over_limit, "program: %zu bytes, the limit is %llu", size,
                       static_cast<unsigned long long>(limits.program_bytes));
  }
  return Loader(bytes, size, limits, program, error).load();
}

Cost function_cost(const Function& function, int64_t batch) {
  Cost cost;
  for (const Segment& s : function.segments) {
    for (const Node& n : s.nodes) {
      ++cost.nodes;
      cost.multiply_adds += static_cast<uint64_t>(n.multiply_adds.at(batch));
      for (const std::vector<int>* list : {&n.inputs, &n.outputs}) {
        for (int v : *list) {
          const Type& t = function.values[static_cast<size_t>(v)];
          cost.bytes_moved += static_cast<uint64_t>(t.elements().at(batch)) *
                              static_cast<uint64_t>(dtype_bytes(t.dtype));
        }
      }
    }
  }
  cost.peak_bytes = plan_memory(function, batch).arena_bytes;
  return cost;
}

bool check_buffer(const Layout& layout, const uint8_t* bytes, size_t size, Error* error) {
  if (size != layout.bytes) {
    return error->fail(Status::bad_parameters,
                       "parameters: the buffer must have %llu bytes, received %zu",
                       static_cast<unsigned long long>(layout.bytes), size);
  }
  for (size_t i = 0; i < layout.types.size(); ++i) {
    const Type& t = layout.types[i];
    const uint64_t used = static_cast<uint64_t>(t.elements_per_example()) *
                          static_cast<uint64_t>(dtype_bytes(t.dtype));
    const uint64_t end = i + 1 < layout.types.size() ? layout.offsets[i + 1] : layout.bytes;
    for (uint64_t b = layout.offsets[i] + used; b < end; ++b) {
      if (bytes[b] != 0) {
        return error->fail(
            Status::bad_parameters,
            "parameters: padding after tensor %zu must be zero, received %d at byte %llu", i,
            bytes[b], static_cast<unsigned long long>(b));
      }
    }
    if (t.dtype == DType::boolean) {
      for (uint64_t b = 0; b < used; ++b) {
        if (bytes[layout.offsets[i] + b] > 1) {
          return error->fail(Status::bad_parameters, "parameters: tensor %zu is bool, received %d",
                             i, bytes[layout.offsets[i] + b]);
        }
      }
    }
  }
  return true;
}

void decode_buffer(const Layout& layout, const uint8_t* bytes, uint8_t* host) {
  if (layout.bytes > 0) std::memset(host, 0, layout.bytes);
  for (size_t i = 0; i < layout.types.size(); ++i) {
    copy_elements(bytes + layout.offsets[i], host + layout.offsets[i],
                  static_cast<uint64_t>(layout.types[i].elements_per_example()),
                  dtype_bytes(layout.types[i].dtype));
  }
}

void encode_buffer(const Layout& layout, const uint8_t* host, uint8_t* bytes) {
  decode_buffer(layout, host, bytes);
}

}  // namespace gvm
