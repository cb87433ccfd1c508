// What must hold of whole functions, beyond what the loader sees node by node. Each check returns
// false after recording the first violation.
#pragma once

#include "program.h"

namespace gvm {

// Every node is of use, and cost and memory at max_batch are within the limits.
bool judge_function(const Program& program, FunctionKind kind, const Limits& limits, Error* error);

// Outputs are whole values, not one shard's.
bool judge_predict(const Function& f, Error* error);

// Outputs are total (24 fraction bits), the example count, and perhaps how many were correct.
bool judge_loss(const Function& f, Error* error);

// Outputs take the place of parameters and state, in this order.
bool judge_apply(const Program& program, Error* error);

}  // namespace gvm
