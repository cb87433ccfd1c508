// gvm.h: single operators.
#include <algorithm>

#include "abi.h"
#include "op.h"

using gvm::Error;
using gvm::guarded;
using gvm::require;
using gvm::Status;

namespace {

bool read_attributes(const gvm_attributes& given, gvm::Attributes* attributes, Error* error) {
  if (!require(given.count == 0 || given.offsets != nullptr, "offsets must be given", error)) {
    return false;
  }
  for (uint32_t i = 0; i < given.count; ++i) {
    const uint32_t first = given.offsets[i], last = given.offsets[i + 1];
    if (!require(first <= last && (first == last || given.values != nullptr),
                 "offsets must not decrease, and values must be given", error)) {
      return false;
    }
    std::vector<int64_t> values;
    if (first != last) values.assign(given.values + first, given.values + last);
    attributes->values.push_back(std::move(values));
  }
  return true;
}

// Whether the integers of an i64 tensor keep the bound that its type states.
bool check_bound(const gvm::Tensor& t, size_t index, Error* error) {
  if (t.type.dtype != gvm::DType::i64) return true;
  const int64_t bound = static_cast<int64_t>(t.type.bound);
  for (int64_t e = 0; e < t.elements; ++e) {
    const int64_t q = t.as<int64_t>()[e];
    if (q >= -bound && q <= bound) continue;
    return error->fail(Status::bad_input, "input %zu: must be at most %lld in size, received %lld",
                       index, static_cast<long long>(bound), static_cast<long long>(q));
  }
  return true;
}

// Judges one node outside a program.
bool infer_operator(uint16_t opcode, const gvm_attributes* given, const gvm_type* inputs,
                    uint32_t input_count, uint64_t max_batch, int64_t node,
                    gvm::Attributes* attributes, std::vector<gvm::Type>* in,
                    std::vector<gvm::Type>* out, const gvm::OpInfo** op, Error* error) {
  *op = gvm::find_op(opcode);
  if (*op == nullptr) return error->fail(Status::unknown_operator, "unknown opcode %d", opcode);
  if (!require(given != nullptr && (inputs != nullptr || input_count == 0),
               "attributes and inputs must be given", error)) {
    return false;
  }
  if (!require(max_batch >= 1 && max_batch <= static_cast<uint64_t>(gvm::kMaxBatchLimit),
               "max_batch must be in [1, 2^22]", error)) {
    return false;
  }
  for (uint32_t i = 0; i < input_count; ++i) {
    gvm::Type type;
    if (!gvm::read_type(inputs[i], &type, error)) return false;
    in->push_back(type);
  }
  if (!read_attributes(*given, attributes, error)) return false;
  gvm::Check check{
      **op, *attributes, *in, static_cast<int64_t>(max_batch), error, static_cast<int>(node),
      {},   {}};
  if (!gvm::infer_node(check)) return false;
  *out = check.out;
  return true;
}

}  // namespace

extern "C" {

int gvm_operator_infer(uint16_t opcode, const gvm_attributes* attributes, const gvm_type* inputs,
                       uint32_t input_count, uint64_t max_batch, int64_t node, gvm_type* outputs,
                       uint32_t* output_count, uint32_t* sites, gvm_error* error) {
  return guarded(error, [&](Error* e) {
    gvm::Attributes a;
    std::vector<gvm::Type> in, out;
    const gvm::OpInfo* op = nullptr;
    if (!infer_operator(opcode, attributes, inputs, input_count, max_batch, node, &a, &in, &out,
                        &op, e))
      return;
    if (!require(output_count != nullptr && outputs != nullptr && *output_count >= out.size(),
                 "room for the outputs must be given", e))
      return;
    *output_count = static_cast<uint32_t>(out.size());
    for (size_t i = 0; i < out.size(); ++i) outputs[i] = gvm::from_type(out[i]);
    if (sites != nullptr) *sites = static_cast<uint32_t>(op->sites);
  });
}

int gvm_operator_run(uint16_t opcode, const gvm_attributes* attributes, const gvm_type* input_types,
                     const void* const* inputs, uint32_t input_count, const gvm_batch* batch,
                     uint32_t site, const gvm_options* options, void* const* outputs,
                     int64_t* clamps, gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(batch != nullptr && outputs != nullptr && (inputs != nullptr || input_count == 0),
                 "batch, inputs and outputs must be given", e))
      return;
    if (!gvm::check_batch(*batch, static_cast<uint64_t>(gvm::kMaxBatchLimit), e)) return;
    gvm::Target target;
    if (!gvm::read_options(options, &target, e)) return;
    gvm::Attributes a;
    std::vector<gvm::Type> in_types, out_types;
    const gvm::OpInfo* op = nullptr;
    if (!infer_operator(opcode, attributes, input_types, input_count, batch->global, -1, &a,
                        &in_types, &out_types, &op, e))
      return;
    if (uint64_t{site} + static_cast<uint64_t>(op->sites) > gvm::kMaxSites) {
      e->fail(Status::bad_input, "site must be below 2^24, received %u", site);
      return;
    }
    if (!gvm::check_pointers("output", outputs, out_types.size(), e)) return;
    const gvm::Batch where{static_cast<int64_t>(batch->local), static_cast<int64_t>(batch->offset),
                           static_cast<int64_t>(batch->global)};
    if (!gvm::check_given(in_types, "input", inputs, where.local, e)) return;
    std::vector<gvm::Tensor> in(in_types.size()), out(out_types.size());
    for (size_t i = 0; i < in.size(); ++i)
      gvm::set_tensor(&in[i], in_types[i], where.local, const_cast<void*>(inputs[i]));
    for (size_t i = 0; i < in.size(); ++i) {
      if (!check_bound(in[i], i, e)) return;
    }
    for (size_t i = 0; i < out.size(); ++i)
      gvm::set_tensor(&out[i], out_types[i], where.local, outputs[i]);
    gvm::run_operator(*op, a, in, &out, where, batch->seed, batch->step, site, target, clamps, e);
  });
}

const char* gvm_operator_name(uint16_t opcode) {
  const gvm::OpInfo* op = gvm::find_op(opcode);
  return op == nullptr ? nullptr : op->name;
}

}  // extern "C"
