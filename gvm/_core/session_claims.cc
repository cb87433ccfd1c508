// A step of training with claims in place of products: they are checked, not made.
#include "session.h"

namespace gvm {

bool Session::accept_claim(size_t node, int64_t examples, uint64_t elements, Error* error) const {
  const Function& f = program_->functions[kGrad];
  for (const Segment& s : f.segments) {
    if (node >= s.first_node + s.nodes.size()) continue;
    const Node& n = s.nodes[node - s.first_node];
    if (cpu_kernel(*n.op).form == nullptr) {
      return error->fail(Status::bad_call, "claim: node %zu must be a product, received %s", node,
                         n.op->name);
    }
    Tensor result;
    set_tensor(&result, f.values[static_cast<size_t>(n.outputs[0])], examples, nullptr);
    if (static_cast<uint64_t>(result.elements) == elements) return true;
    return error->fail(Status::bad_input, "claim: node %zu has %lld elements, received %llu", node,
                       static_cast<long long>(result.elements),
                       static_cast<unsigned long long>(elements));
  }
  return error->fail(Status::bad_call, "claim: grad has no node %zu", node);
}

Status Session::run_with_claim(const Step& step, const Prepared& made, Claims* claims) {
  const Function& f = program_->functions[kGrad];
  const Segment& segment = f.segments[static_cast<size_t>(step.segment)];
  const size_t node = segment.first_node + static_cast<size_t>(step.node);
  const auto found = claims->of_node.find(node);
  if (found == claims->of_node.end()) return made.kernel->run(made.call);
  const int value = segment.nodes[static_cast<size_t>(step.node)].outputs[0];
  Tensor exact;
  set_tensor(&exact, f.values[static_cast<size_t>(value)], made.call.batch.local, nullptr);
  bool checked = false;
  const Status status = run_claimed(*made.kernel, made.call, exact, found->second, claims->key,
                                    static_cast<uint32_t>(node), &checked, &claims->finding);
  claims->checked += checked ? 1 : 0;
  if (status != Status::ok || !claims->finding.wrong) return status;
  claims->node = node;
  made.call.error->fail(Status::bad_input, "claim: node %zu is wrong", node);
  return Status::bad_input;
}

}  // namespace gvm
