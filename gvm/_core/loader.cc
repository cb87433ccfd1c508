#include <cstring>
#include <limits>
#include <set>
#include <vector>

#include "cbor.h"
#include "judge.h"

namespace gvm {

namespace {

unsigned long long number(uint64_t v) { return v; }
long long number(int64_t v) { return v; }

// Reads one program. Every method returns false after the first violation.
class Loader {
 public:
  Loader(const uint8_t* bytes, size_t size, const Limits& limits, Program* program, Error* error)
      : bytes_(bytes),
        size_(size),
        reader_(bytes, size),
        limits_(limits),
        p_(program),
        error_(error) {}

  bool load() {
    if (!read_outline()) return false;
    // What the rest means is decided by its version, and what it costs by its largest batch.
    int64_t semantics = 0;
    if (!read_count(semantics_, "semantics", 0, std::numeric_limits<int64_t>::max(), &semantics)) {
      return false;
    }
    if (semantics != kSemanticsVersion) {
      return error_->fail(Status::unknown_semantics,
                          "program: semantics version must be %lld, received %lld",
                          number(kSemanticsVersion), number(semantics));
    }
    if (!read_count(max_batch_, "max_batch", 1, kMaxBatchLimit, &p_->max_batch)) return false;
    // What only predicts may be given the same tensor for every example.
    const Axis of_inputs = trains_ || !is_null(loss_) ? Axis::batched : Axis::either;
    if (!read_types(inputs_, "inputs", of_inputs, &p_->inputs) ||
        !read_types(labels_, "labels", Axis::batched, &p_->labels) ||
        !read_layout(parameters_, "parameters", &p_->parameters)) {
      return false;
    }
    if (trains_ && !read_layout(state_, "state", &p_->state)) return false;
    if (p_->inputs.empty()) return error_->fail(Status::bad_graph, "program: it has no inputs");
    const uint64_t stored = p_->parameters.bytes + p_->state.bytes;
    if (stored > limits_.parameter_bytes) {
      return error_->fail(Status::over_limit,
                          "program: parameters and state of %llu bytes, the limit is %llu",
                          number(stored), number(limits_.parameter_bytes));
    }
    if (!read_functions()) return false;
    identify();
    return true;
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

  // Where the value of each key stands: canonical order puts functions before the types they use.
  bool read_outline() {
    size_t keys = 0;
    if (!reader_.read_map(&keys)) return encoding();
    if (keys != 7 && keys != 10) {
      return error_->fail(Status::bad_encoding, "program: a map of 7 or 10 keys, received %zu",
                          keys);
    }
    trains_ = keys == 10;
    const struct {
      const char* key;
      Span* span;
      bool training;
    } outline[] = {{"grad", &grad_, true},
                   {"loss", &loss_, false},
                   {"apply", &apply_, true},
                   {"state", &state_, true},
                   {"inputs", &inputs_, false},
                   {"labels", &labels_, false},
                   {"predict", &predict_, false},
                   {"max_batch", &max_batch_, false},
                   {"semantics", &semantics_, false},
                   {"parameters", &parameters_, false}};
    for (const auto& entry : outline) {
      if (entry.training && !trains_) continue;
      if (!reader_.expect_key(entry.key)) return encoding();
      entry.span->begin = reader_.offset();
      if (!reader_.skip()) return encoding();
      entry.span->end = reader_.offset();
    }
    return reader_.finish() || encoding();
  }

  void begin(const Span& s) {
    reader_ = CborReader(bytes_ + s.begin, s.end - s.begin);
    base_ = s.begin;
  }

  bool is_null(const Span& s) const { return s.end - s.begin == 1 && bytes_[s.begin] == 0xf6; }

  bool read_count(const Span& where, const char* key, int64_t minimum, int64_t maximum,
                  int64_t* value) {
    begin(where);
    if (!reader_.read_int(value)) return encoding();
    if (*value >= minimum && *value <= maximum) return true;
    return error_->fail(Status::bad_graph, "program: %s must be in [%lld, %lld], received %lld",
                        key, number(minimum), number(maximum), number(*value));
  }

  // Lists that hold memory for each item are as limited as nodes are.
  bool check_length(const char* what, size_t length) {
    if (length <= limits_.nodes) return true;
    return error_->fail(Status::over_limit, "%s: %zu of them, the limit is %llu", what, length,
                        number(limits_.nodes));
  }

  enum class Axis { shared, batched, either };

  bool read_types(const Span& where, const char* key, Axis axis, std::vector<Type>* types) {
    begin(where);
    size_t count = 0;
    if (!reader_.read_array(&count)) return encoding();
    if (!check_length(key, count)) return false;
    for (size_t i = 0; i < count; ++i) {
      Type type;
      if (!read_type(key, i, &type)) return false;
      if (axis != Axis::either && type.batched() != (axis == Axis::batched)) {
        return error_->fail(Status::bad_batch, "%s %zu: must %s a batch axis", key, i,
                            axis == Axis::batched ? "have" : "not have");
      }
      types->push_back(type);
    }
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
                          index, number(dtype));
    }
    if (fraction_bits < kMinFractionBits || fraction_bits > kMaxFractionBits) {
      return error_->fail(Status::bad_type,
                          "%s %zu: fraction bits must be in [%d, %d], received %lld", key, index,
                          kMinFractionBits, kMaxFractionBits, number(fraction_bits));
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
                            index, i, number(d));
      }
      dims.push_back(d);
    }
    if (batch_axes > 1) {
      return error_->fail(Status::bad_batch, "%s %zu: at most one batch axis, received %d", key,
                          index, batch_axes);
    }
    *type = make_type(static_cast<DType>(dtype), static_cast<int>(fraction_bits), dims);
    const int64_t elements = type->elements().at(p_->max_batch);
    if (elements > kMaxElements) {
      return error_->fail(Status::bad_shape,
                          "%s %zu: elements must be at most 2^42 at max_batch, received %lld", key,
                          index, number(elements));
    }
    return true;
  }

  bool read_layout(const Span& where, const char* key, Layout* layout) {
    if (!read_types(where, key, Axis::shared, &layout->types)) return false;
    for (const Type& t : layout->types) {
      layout->offsets.push_back(layout->bytes);
      const uint64_t bytes = static_cast<uint64_t>(t.elements_per_example()) *
                             static_cast<uint64_t>(dtype_bytes(t.dtype));
      layout->bytes += (bytes + kAlignment - 1) / kAlignment * kAlignment;
      if (layout->bytes > limits_.parameter_bytes) {
        return error_->fail(Status::over_limit, "%s: more than %llu bytes", key,
                            number(limits_.parameter_bytes));
      }
    }
    return true;
  }

  static void append(std::vector<Type>* to, const std::vector<Type>& types) {
    to->insert(to->end(), types.begin(), types.end());
  }

  bool read_functions() {
    Function* f = p_->functions;
    append(&f[kPredict].values, p_->inputs);
    append(&f[kPredict].values, p_->parameters.types);
    if (!read_function(kPredict, predict_) || !judge_predict(f[kPredict], error_)) return false;
    std::vector<Type> given = p_->inputs;
    append(&given, p_->labels);
    append(&given, p_->parameters.types);
    if (!is_null(loss_)) {
      f[kLoss].values = given;
      if (!read_function(kLoss, loss_) || !judge_loss(f[kLoss], error_)) return false;
    } else if (trains_ || !p_->labels.empty()) {
      return error_->fail(Status::bad_graph, "program: labels and grad need a loss");
    }
    if (!trains_) return true;
    f[kGrad].values = given;
    if (!read_grad()) return false;
    if (is_null(apply_)) {
      if (p_->state.types.empty()) return true;
      return error_->fail(Status::bad_graph, "program: state needs apply");
    }
    append(&f[kApply].values, p_->parameters.types);
    append(&f[kApply].values, p_->state.types);
    for (const TotalInfo& t : p_->totals) f[kApply].values.push_back(t.type);
    return read_function(kApply, apply_) && judge_apply(*p_, error_);
  }

  bool read_function(FunctionKind kind, const Span& where) {
    Function& f = p_->functions[kind];
    f.given = static_cast<int>(f.values.size());
    begin(where);
    f.segments.emplace_back();
    if (!reader_.read_map_of(2) || !reader_.expect_key("nodes")) return encoding();
    if (!read_nodes(kind, &f)) return false;
    if (!reader_.expect_key("outputs") ||
        !read_values(function_name(kind), f, limits_.nodes, Status::over_limit, &f.outputs)) {
      return encoding();
    }
    if (!reader_.finish()) return encoding();
    return judge_function(*p_, kind, limits_, error_);
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
      Segment next;
      next.first_node = f.node_count();
      f.segments.push_back(std::move(next));
      if (!reader_.read_map_of(2) || !reader_.expect_key("nodes")) return encoding();
      if (!read_nodes(kGrad, &f)) return false;
      std::vector<int> reduce;
      if (!reader_.expect_key("reduce") ||
          !read_values("grad", f, limits_.nodes, Status::over_limit, &reduce)) {
        return encoding();
      }
      if (reduce.empty())
        return error_->fail(Status::bad_graph, "grad, segment %zu: reduces nothing", s);
      f.segments.back().reduce = std::move(reduce);
      if (!read_totals(s, &f)) return false;
    }
    if (!reader_.finish()) return encoding();
    return judge_function(*p_, kGrad, limits_, error_);
  }

  // The totals of the segment just read become values of the next ones.
  bool read_totals(size_t index, Function* f) {
    Segment& segment = f->segments.back();
    if (!check_length("totals", p_->totals.size() + segment.reduce.size())) return false;
    for (int v : segment.reduce) {
      Type t = f->values[static_cast<size_t>(v)];
      if (!t.partial) {
        return error_->fail(Status::bad_batch,
                            "grad, segment %zu: value %d is not partial, it cannot be reduced",
                            index, v);
      }
      t.partial = false;
      segment.totals.push_back(static_cast<int>(f->values.size()));
      f->values.push_back(t);
      p_->totals.push_back({t, p_->total_elements, static_cast<uint32_t>(index)});
      p_->total_elements += static_cast<uint64_t>(t.elements_per_example());
      if (p_->total_elements > limits_.memory_bytes / sizeof(int64_t)) {
        return error_->fail(Status::over_limit, "grad: totals of more than %llu bytes",
                            number(limits_.memory_bytes));
      }
    }
    return true;
  }

  // A list of at most `most` value numbers, all of which exist.
  bool read_values(const char* what, const Function& f, uint64_t most, Status status,
                   std::vector<int>* values) {
    size_t count = 0;
    if (!reader_.read_array(&count)) return false;
    if (count > most) {
      return error_->fail(status, "%s: at most %llu values, received %zu", what, number(most),
                          count);
    }
    for (size_t i = 0; i < count; ++i) {
      int64_t v = 0;
      if (!reader_.read_int(&v)) return false;
      if (v < 0 || v >= static_cast<int64_t>(f.values.size())) {
        return error_->fail(Status::bad_graph, "%s: value must be in [0, %zu), received %lld", what,
                            f.values.size(), number(v));
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
                            number(limits_.nodes));
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
                          function_name(kind), index, number(opcode));
    }
    Node node{op, {}, {}, {}, 0, {}};
    char what[64];
    std::snprintf(what, sizeof what, "%s, node %d", op->name, index);
    const uint64_t most = static_cast<uint64_t>(op->max_inputs);
    if (!read_values(what, *f, most, Status::bad_graph, &node.inputs) ||
        !read_attributes(*op, index, &node.attributes)) {
      return false;
    }
    std::vector<Type> in;
    for (int v : node.inputs) in.push_back(f->values[static_cast<size_t>(v)]);
    Check check{*op, node.attributes, in, p_->max_batch, error_, index, {}, {}};
    if (!infer_node(check) || !check_place(kind, node, check)) return false;
    node.multiply_adds = check.multiply_adds;
    if (kind == kGrad || kind == kApply) {
      const uint32_t sites = static_cast<uint32_t>(op->sites);
      if (p_->sites + sites > kMaxSites) {
        return error_->fail(Status::bad_graph, "program: more than 2^24 rounding sites");
      }
      node.site = p_->sites;
      p_->sites += sites;
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
      return error_->fail(Status::bad_attribute, "%s, node %d: attributes must be %d, received %zu",
                          op.name, index, op.attribute_count, count);
    }
    for (int a = 0; a < op.attribute_count; ++a) {
      const AttributeInfo& info = op.attributes[a];
      size_t length = 1;
      if (info.is_list && !reader_.read_array(&length)) return false;
      if (length > static_cast<size_t>(info.max_length)) {
        return error_->fail(Status::bad_attribute,
                            "%s, node %d: %s must have a length in [%d, %d], received %zu", op.name,
                            index, info.name, info.min_length, info.max_length, length);
      }
      std::vector<int64_t> values(length);
      for (int64_t& v : values) {
        if (!reader_.read_int(&v)) return false;
      }
      attributes->values.push_back(std::move(values));
    }
    return true;
  }

  // What a function allows beyond what an operator does.
  bool check_place(FunctionKind kind, const Node& node, Check& check) {
    for (int a = 0; (kind == kPredict || kind == kLoss) && a < node.op->attribute_count; ++a) {
      if (!node.op->attributes[a].is_rounding() || node.attributes.get(a) == 0) continue;
      return check.fail(Status::bad_attribute, "%s in %s must be 0 (nearest), received %lld",
                        node.op->attributes[a].name, function_name(kind),
                        number(node.attributes.get(a)));
    }
    const bool draws = std::strcmp(node.op->name, "dropout") == 0;
    if (draws && kind != kGrad && node.attributes.get(node.op->attribute("keep")) != 65536) {
      return check.fail(Status::bad_attribute, "keep in %s must be 65536, received %lld",
                        function_name(kind),
                        number(node.attributes.get(node.op->attribute("keep"))));
    }
    for (const Type& t : check.out) {
      if (kind == kApply && (t.batched() || t.partial)) {
        return check.fail(Status::bad_batch, "apply knows no batch");
      }
    }
    if (std::strcmp(node.op->name, "unary") != 0) return true;
    const Attributes& a = node.attributes;
    const int rounding = node.op->attribute("rounding");
    tables_.insert({a.get(node.op->attribute("function")), check.in[0].fraction_bits,
                    a.get(node.op->attribute("dtype")), check.out[0].fraction_bits,
                    a.get(rounding) == 0 ? 0 : 1});
    if (tables_.size() <= kMaxTables) return true;
    return check.fail(Status::bad_graph, "a program has at most %zu different tables", kMaxTables);
  }

  // graph_id covers the map without grad, apply and state; train_id the whole program.
  void identify() {
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
    if (trains_) {
      Blake3 train;
      const char train_domain[] = "gvm.train.v1\n";
      train.update(train_domain, sizeof train_domain - 1);
      train.update(bytes_, size_);
      p_->train_id = train.finalize();
    }
    p_->parameter_types.assign(bytes_ + parameters_.begin, bytes_ + parameters_.end);
  }

  const uint8_t* bytes_;
  size_t size_;
  CborReader reader_;
  const Limits& limits_;
  Program* p_;
  Error* error_;
  bool trains_ = false;
  size_t base_ = 0;
  uint64_t nodes_ = 0;
  std::set<std::vector<int64_t>> tables_;  // of unary functions, by what tells them apart
  Span grad_, loss_, apply_, state_, inputs_, labels_, predict_, max_batch_, semantics_,
      parameters_;
};

}  // namespace

bool load_program(const uint8_t* bytes, size_t size, const Limits& limits, Program* program,
                  Error* error) {
  if (size > limits.program_bytes) {
    return error->fail(Status::over_limit, "program: %zu bytes, the limit is %llu", size,
                       number(limits.program_bytes));
  }
  program->memory_bytes = limits.memory_bytes;
  return Loader(bytes, size, limits, program, error).load();
}

}  // namespace gvm
