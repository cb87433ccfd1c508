// The memory plan: which buffer every value of a function occupies, by liveness, first fit at the
// lowest offset. It depends on the function, the batch and the kernels' traits only, never on
// threads.
#pragma once

#include <cstdint>
#include <vector>

#include "program.h"

namespace gvm {

// How a backend executes the nodes: in order, some fused behind their predecessor.
struct Step {
  int segment = 0;
  int node = 0;                            // index in the segment: the kernel that runs
  int bias = -1, convert = -1, relu = -1;  // nodes of the segment fused behind it
  bool keeps = false;                      // its second operand depends on the parameters alone
};

struct Plan {
  static constexpr int64_t kElsewhere = -1;  // given by the caller, or constant
  static constexpr int64_t kNone = -2;       // never materialised (inside a fused step)
  std::vector<Step> steps;                   // without constant nodes
  std::vector<Step> constant_steps;  // depend on shared given values only: run once per parameters
  std::vector<size_t> first_step;    // of each segment, then the number of steps
  std::vector<int64_t> offsets;      // per value: into the arena, or kElsewhere, kNone
  std::vector<int64_t> constant_offsets;  // per value: into the constant arena, or kElsewhere
  std::vector<int> alias;  // per value: the value whose memory it shares (itself if none)
  uint64_t arena_bytes = 0, constant_bytes = 0;
};

// What a backend's kernels can do; null functions: the plain plan that costs state.
struct PlanTraits {
  bool (*epilogue)(const OpInfo&) = nullptr;
  bool (*in_place)(const OpInfo&) = nullptr;
  bool (*view)(const OpInfo&) = nullptr;
  bool (*converts)(const OpInfo&) = nullptr;
};

// Nodes that depend on the given values [first, last) alone, round to nearest and have no batch
// become constant: their place and what they hold are the same for every batch. Sizes saturate at
// kMaxCount.
Plan plan_memory(const Function& function, int64_t batch, const PlanTraits& traits = {},
                 int first = 0, int last = 0);

}  // namespace gvm
