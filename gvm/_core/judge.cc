#include "judge.h"

#include <algorithm>
#include <cstring>

namespace gvm {

namespace {

// Canonical programs have no dead nodes.
bool check_use(FunctionKind kind, const Function& f, Error* error) {
  std::vector<bool> used(f.values.size(), false);
  for (int v : f.outputs) used[static_cast<size_t>(v)] = true;
  for (const Segment& s : f.segments) {
    for (int v : s.reduce) used[static_cast<size_t>(v)] = true;
    for (const Node& n : s.nodes) {
      for (int v : n.inputs) used[static_cast<size_t>(v)] = true;
    }
  }
  for (const Segment& s : f.segments) {
    for (size_t i = 0; i < s.nodes.size(); ++i) {
      const Node& n = s.nodes[i];
      const bool any = std::any_of(n.outputs.begin(), n.outputs.end(),
                                   [&](int v) { return used[static_cast<size_t>(v)]; });
      if (any) continue;
      return error->fail(Status::bad_graph, "%s, node %zu (%s): no result of it is used",
                         function_name(kind), s.first_node + i, n.op->name);
    }
  }
  if (kind != kGrad && f.outputs.empty()) {
    return error->fail(Status::bad_graph, "%s: no outputs", function_name(kind));
  }
  return true;
}

}  // namespace

bool judge_function(const Program& program, FunctionKind kind, const Limits& limits, Error* error) {
  const Function& f = program.functions[kind];
  if (!check_use(kind, f, error)) return false;
  const Cost cost = function_cost(f, program.max_batch);
  const struct {
    const char* what;
    uint64_t needed, limit;
  } rows[] = {{"multiply-adds", cost.multiply_adds, limits.multiply_adds},
              {"bytes moved", cost.bytes_moved, kMaxCount - 1},
              {"bytes of memory", cost.peak_bytes, limits.memory_bytes}};
  for (const auto& row : rows) {
    // A count that has saturated is no longer exact.
    const uint64_t limit = std::min(row.limit, kMaxCount - 1);
    if (row.needed <= limit) continue;
    return error->fail(Status::over_limit, "%s: %llu %s at max_batch, the limit is %llu",
                       function_name(kind), static_cast<unsigned long long>(row.needed), row.what,
                       static_cast<unsigned long long>(limit));
  }
  return true;
}

bool judge_predict(const Function& f, Error* error) {
  for (int v : f.outputs) {
    if (f.values[static_cast<size_t>(v)].partial) {
      return error->fail(Status::bad_batch, "predict: an output must not be partial");
    }
  }
  return true;
}

bool judge_loss(const Function& f, Error* error) {
  if (f.outputs.size() != 2 && f.outputs.size() != 3) {
    return error->fail(Status::bad_graph,
                       "loss: outputs must be total, count and at most correct, received %zu",
                       f.outputs.size());
  }
  for (size_t i = 0; i < f.outputs.size(); ++i) {
    const Type& t = f.values[static_cast<size_t>(f.outputs[i])];
    const int format = i == 0 ? kLossFractionBits : 0;
    if (!t.partial || t.rank != 0 || t.fraction_bits != format) {
      return error->fail(Status::bad_type,
                         "loss: output %zu must be a partial scalar with %d fraction bits", i,
                         format);
    }
  }
  for (const Node& n : f.segments[0].nodes) {
    if (n.outputs[0] == f.outputs[1] && std::strcmp(n.op->name, "example_count") == 0) return true;
  }
  return error->fail(Status::bad_graph, "loss: output 1 must be an example_count");
}

bool judge_apply(const Program& program, Error* error) {
  const Function& f = program.functions[kApply];
  std::vector<Type> wanted = program.parameters.types;
  wanted.insert(wanted.end(), program.state.types.begin(), program.state.types.end());
  if (f.outputs.size() != wanted.size()) {
    return error->fail(Status::bad_graph,
                       "apply: one output per parameter and state tensor (%zu), received %zu",
                       wanted.size(), f.outputs.size());
  }
  for (size_t i = 0; i < wanted.size(); ++i) {
    const Type& t = f.values[static_cast<size_t>(f.outputs[i])];
    if (t.dtype != wanted[i].dtype || t.fraction_bits != wanted[i].fraction_bits ||
        !t.same_shape(wanted[i])) {
      return error->fail(Status::bad_type,
                         "apply: output %zu must have the type of the tensor it replaces", i);
    }
  }
  return true;
}

}  // namespace gvm
