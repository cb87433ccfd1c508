// What the linear operators have in common: their exact sums and what is fused behind them.
#pragma once

#include "cpu/gemm.h"

namespace gvm {

// The epilogue that a call asks for: the exact sums into an i64 output, or bias, Convert and ReLU.
// The caller sets the rows. `column` is where the columns start in the last axis of the output.
inline Epilogue epilogue_of(const Call& call, int64_t column = 0) {
  const Tensor& out = call.out[0];
  Epilogue to;
  to.type = out.type.dtype;
  to.data = out.data;
  to.sink = call.sink;
  to.routes = call.routes;
  if (call.fused == nullptr) return to;
  const Fused& fused = *call.fused;
  if (fused.bias != nullptr) {
    to.bias_type = fused.bias->type.dtype;
    to.bias = static_cast<const char*>(fused.bias->data) + column * dtype_bytes(to.bias_type);
    to.bias_shift = fused.fraction_bits_in - fused.bias->type.fraction_bits;
  }
  to.convert.shift = fused.fraction_bits_in - out.type.fraction_bits;
  to.convert.rounding = fused.rounding;
  to.convert.seed = call.seed;
  to.convert.step = call.step;
  to.convert.site = fused.site;
  to.convert.relu = fused.relu;
  to.index = index_map(out.type, call.batch);
  to.clamps = call.clamps;
  return to;
}

}  // namespace gvm
