// Plans for people.
#include <cstdio>
#include <string>

#include "session.h"

namespace gvm {

std::string Session::describe_plan(FunctionKind kind, int64_t batch) {
  const Function& f = program_->functions[kind];
  const Plan plan = make_plan(kind, batch, choose_variant(kind));
  std::string text;
  char line[160];
  for (const std::vector<Step>* steps : {&plan.constant_steps, &plan.steps}) {
    for (const Step& s : *steps) {
      const std::vector<Node>& nodes = f.segments[static_cast<size_t>(s.segment)].nodes;
      text += steps == &plan.constant_steps ? "constant" : "step";
      int last = s.node;
      for (int index : {s.node, s.bias, s.convert, s.relu}) {
        if (index < 0) continue;
        std::snprintf(line, sizeof line, "%s %s#%d", index == s.node ? "" : " +",
                      nodes[static_cast<size_t>(index)].op->name, index);
        text += line;
        last = index;
      }
      const int value = nodes[static_cast<size_t>(last)].outputs[0];
      const size_t root = static_cast<size_t>(plan.alias[static_cast<size_t>(value)]);
      const int64_t at = plan.offsets[root] >= 0 ? plan.offsets[root] : plan.constant_offsets[root];
      std::snprintf(line, sizeof line, " -> %%%d%s @%lld\n", value,
                    root != static_cast<size_t>(value) ? " (shared)" : "",
                    static_cast<long long>(at));
      text += line;
    }
  }
  std::snprintf(line, sizeof line, "arena %llu bytes, constants %llu bytes\n",
                static_cast<unsigned long long>(plan.arena_bytes),
                static_cast<unsigned long long>(plan.constant_bytes));
  return text + line;
}

}  // namespace gvm
