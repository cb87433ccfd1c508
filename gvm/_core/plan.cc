#include "plan.h"

#include <algorithm>
#include <cstring>

namespace gvm {

namespace {

uint64_t bytes_of(const Type& t, int64_t batch) {
  const uint64_t bytes = static_cast<uint64_t>(
      saturating_mul(t.elements().at(batch), static_cast<int64_t>(dtype_bytes(t.dtype))));
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

uint64_t saturating_end(uint64_t at, uint64_t bytes) {
  return bytes > kMaxCount - at ? kMaxCount : at + bytes;
}

bool rounds_to_nearest(const Node& node) {
  for (int a = 0; a < node.op->attribute_count; ++a) {
    if (node.op->attributes[a].is_rounding() && node.attributes.get(a) != 0) return false;
  }
  return true;
}

class Planner {
 public:
  Planner(const Function& f, int64_t batch, const PlanTraits& traits, int first, int last)
      : f_(f), batch_(batch), traits_(traits), first_(first), last_(last) {}

  Plan run() {
    const size_t n = f_.values.size();
    plan_.offsets.assign(n, Plan::kElsewhere);
    plan_.constant_offsets.assign(n, Plan::kElsewhere);
    plan_.alias.resize(n);
    for (size_t i = 0; i < n; ++i) plan_.alias[i] = static_cast<int>(i);
    uses_.assign(n, 0);
    pinned_.assign(n, false);
    consumer_.assign(n, -1);
    for (const Segment& s : f_.segments) {
      for (int v : s.reduce) pin(v);
      for (size_t i = 0; i < s.nodes.size(); ++i) {
        for (int v : s.nodes[i].inputs) {
          ++uses_[static_cast<size_t>(v)];
          consumer_[static_cast<size_t>(v)] = static_cast<int>(i);
        }
      }
    }
    for (int v : f_.outputs) pin(v);
    make_steps();
    alias_views();
    place_constants();
    place();
    for (int& v : plan_.alias) v = plan_.alias[static_cast<size_t>(v)];
    return std::move(plan_);
  }

 private:
  void pin(int v) {
    ++uses_[static_cast<size_t>(v)];
    pinned_[static_cast<size_t>(v)] = true;
  }

  const Node& node(const Step& step, int index) const {
    return f_.segments[static_cast<size_t>(step.segment)].nodes[static_cast<size_t>(index)];
  }

  void make_steps() {
    std::vector<bool> constant(f_.values.size(), false);
    for (int v = first_; v < last_; ++v) constant[static_cast<size_t>(v)] = true;
    for (size_t s = 0; s < f_.segments.size(); ++s) {
      const std::vector<Node>& nodes = f_.segments[s].nodes;
      std::vector<bool> taken(nodes.size(), false);
      plan_.first_step.push_back(plan_.steps.size());
      for (size_t i = 0; i < nodes.size(); ++i) {
        if (taken[i]) continue;
        Step step;
        step.segment = static_cast<int>(s);
        step.node = static_cast<int>(i);
        bool hoisted = !nodes[i].inputs.empty() && rounds_to_nearest(nodes[i]);
        for (int v : nodes[i].inputs) hoisted = hoisted && constant[static_cast<size_t>(v)];
        // A value for each example is not the same for every shard, whatever it is made from.
        for (int v : nodes[i].outputs) {
          const size_t at = static_cast<size_t>(v);
          hoisted = hoisted && !pinned_[at] && !f_.values[at].batched();
        }
        if (hoisted) {
          for (int v : nodes[i].outputs) constant[static_cast<size_t>(v)] = true;
          plan_.constant_steps.push_back(step);
          continue;
        }
        step.keeps =
            nodes[i].inputs.size() > 1 && constant[static_cast<size_t>(nodes[i].inputs[1])];
        const bool linear = traits_.epilogue != nullptr && traits_.epilogue(*nodes[i].op);
        if (linear || (traits_.converts != nullptr && traits_.converts(*nodes[i].op))) {
          fuse(nodes, linear, &step, &taken);
        }
        plan_.steps.push_back(step);
      }
    }
    plan_.first_step.push_back(plan_.steps.size());
  }

  // The single consumer of a value made in this segment, if it reads it first and is this operator.
  int follower(const std::vector<Node>& nodes, int value, const char* op) const {
    if (uses_[static_cast<size_t>(value)] != 1 || pinned_[static_cast<size_t>(value)]) return -1;
    const size_t i = static_cast<size_t>(consumer_[static_cast<size_t>(value)]);
    // A consumer in a later segment has an index of its own there: it must be the one that reads
    // `value`.
    if (i >= nodes.size() || nodes[i].inputs.empty() || nodes[i].inputs[0] != value) return -1;
    return std::strcmp(nodes[i].op->name, op) == 0 ? static_cast<int>(i) : -1;
  }

  void take(const std::vector<Node>& nodes, int index, int* slot, int* value,
            std::vector<bool>* taken) {
    *slot = index;
    plan_.offsets[static_cast<size_t>(*value)] = Plan::kNone;
    *value = nodes[static_cast<size_t>(index)].outputs[0];
    (*taken)[static_cast<size_t>(index)] = true;
  }

  void fuse(const std::vector<Node>& nodes, bool with_bias, Step* step, std::vector<bool>* taken) {
    int value = nodes[static_cast<size_t>(step->node)].outputs[0];
    const int bias = with_bias ? follower(nodes, value, "bias_add") : -1;
    int convert = -1;
    if (bias >= 0) {
      const Node& b = nodes[static_cast<size_t>(bias)];
      const Type& t = f_.values[static_cast<size_t>(b.inputs[1])];
      const bool given = b.inputs[1] < f_.given;
      if (!given || t.fraction_bits > f_.values[static_cast<size_t>(value)].fraction_bits) return;
      convert = follower(nodes, b.outputs[0], "convert");
    } else {
      convert = follower(nodes, value, "convert");
    }
    if (convert < 0) return;
    if (bias >= 0) take(nodes, bias, &step->bias, &value, taken);
    take(nodes, convert, &step->convert, &value, taken);
    const int relu = follower(nodes, value, "relu");
    if (relu >= 0) take(nodes, relu, &step->relu, &value, taken);
  }

  void alias_views() {
    if (traits_.view == nullptr) return;
    for (const std::vector<Step>* steps : {&plan_.constant_steps, &plan_.steps}) {
      for (const Step& step : *steps) {
        const Node& n = node(step, step.node);
        if (traits_.view(*n.op)) {
          plan_.alias[static_cast<size_t>(n.outputs[0])] =
              plan_.alias[static_cast<size_t>(n.inputs[0])];
        }
      }
    }
  }

  void place_constants() {
    for (const Step& step : plan_.constant_steps) {
      for (int v : node(step, step.node).outputs) {
        if (plan_.alias[static_cast<size_t>(v)] != v) continue;
        plan_.constant_offsets[static_cast<size_t>(v)] = static_cast<int64_t>(plan_.constant_bytes);
        plan_.constant_bytes = saturating_end(plan_.constant_bytes,
                                              bytes_of(f_.values[static_cast<size_t>(v)], batch_));
      }
    }
  }

  struct Live {
    int value;
    int64_t begin, end;  // steps, inclusive
    uint64_t bytes;
  };

  // Last step in which each value, or a view of it, is read.
  std::vector<int64_t> last_reads() const {
    std::vector<int64_t> last(f_.values.size(), -1);
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      const Step& step = plan_.steps[i];
      for (int index : {step.node, step.bias, step.convert, step.relu}) {
        if (index < 0) continue;
        for (int v : node(step, index).inputs)
          last[static_cast<size_t>(root(v))] = static_cast<int64_t>(i);
      }
    }
    for (size_t v = 0; v < f_.values.size(); ++v) {
      if (pinned_[v])
        last[static_cast<size_t>(plan_.alias[v])] = static_cast<int64_t>(plan_.steps.size());
    }
    return last;
  }

  // The value whose buffer v lives in: views point to a value, a value written in place to its
  // input's.
  int root(int v) const {
    return plan_.alias[static_cast<size_t>(plan_.alias[static_cast<size_t>(v)])];
  }

  std::vector<int> results(const Step& step) const {
    for (int index : {step.relu, step.convert, step.bias}) {
      if (index >= 0) return node(step, index).outputs;
    }
    return node(step, step.node).outputs;
  }

  void place() {
    std::vector<int64_t> last = last_reads();
    std::vector<bool> owned(f_.values.size(), false);
    std::vector<Live> live;  // sorted by offset
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      const int64_t now = static_cast<int64_t>(i);
      live.erase(
          std::remove_if(live.begin(), live.end(), [now](const Live& l) { return l.end < now; }),
          live.end());
      for (int v : results(plan_.steps[i])) {
        if (plan_.alias[static_cast<size_t>(v)] != v) continue;
        if (reuse(plan_.steps[i], v, now, owned, &last, &live)) continue;
        insert(v, now, std::max(now, last[static_cast<size_t>(v)]), &live);
        owned[static_cast<size_t>(v)] = true;
      }
    }
  }

  // Gives v the memory of the first input when that dies here and the kernel allows it.
  bool reuse(const Step& step, int v, int64_t now, const std::vector<bool>& owned,
             std::vector<int64_t>* last, std::vector<Live>* live) {
    const Node& n = node(step, step.node);
    if (traits_.in_place == nullptr || step.convert >= 0 || n.inputs.empty() ||
        !traits_.in_place(*n.op))
      return false;
    const int root_in = root(n.inputs[0]);
    const Type& a = f_.values[static_cast<size_t>(n.inputs[0])];
    const Type& b = f_.values[static_cast<size_t>(v)];
    if (!owned[static_cast<size_t>(root_in)] || (*last)[static_cast<size_t>(root_in)] != now ||
        v != n.outputs[0])
      return false;
    if (a.dtype != b.dtype || !a.same_shape(b)) return false;
    for (size_t k = 1; k < n.inputs.size(); ++k) {
      if (root(n.inputs[k]) == root_in) return false;
    }
    // From here on the value is a view of the input's buffer; root() follows the views of v to it.
    const int64_t end = std::max(now, (*last)[static_cast<size_t>(v)]);
    plan_.alias[static_cast<size_t>(v)] = root_in;
    (*last)[static_cast<size_t>(root_in)] = end;
    for (Live& l : *live) {
      if (l.value == root_in) l.end = end;
    }
    return true;
  }

  void insert(int v, int64_t begin, int64_t end, std::vector<Live>* live) {
    const uint64_t bytes = bytes_of(f_.values[static_cast<size_t>(v)], batch_);
    uint64_t at = 0;
    auto position = live->begin();
    for (; position != live->end(); ++position) {
      const uint64_t offset =
          static_cast<uint64_t>(plan_.offsets[static_cast<size_t>(position->value)]);
      if (saturating_end(at, bytes) <= offset) break;
      at = saturating_end(offset, position->bytes);
    }
    plan_.offsets[static_cast<size_t>(v)] = static_cast<int64_t>(at);
    live->insert(position, {v, begin, end, bytes});
    plan_.arena_bytes = std::max(plan_.arena_bytes, saturating_end(at, bytes));
  }

  const Function& f_;
  const int64_t batch_;
  const PlanTraits& traits_;
  const int first_, last_;
  Plan plan_;
  std::vector<int> uses_;
  std::vector<int> consumer_;  // index in its segment of the last node that reads a value
  std::vector<bool> pinned_;
};

}  // namespace

Plan plan_memory(const Function& function, int64_t batch, const PlanTraits& traits, int first,
                 int last) {
  return Planner(function, batch, traits, first, last).run();
}

}  // namespace gvm
