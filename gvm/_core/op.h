// What an operator states about itself, once, for every backend: its row in ops.inc (generated from
// gvm/ops/*.py) and infer_<name>() in ops/<name>.cc, which judges a node and derives its outputs.
#pragma once

#include <cstdint>
#include <vector>

#include "fixed.h"
#include "status.h"
#include "types.h"

namespace gvm {

struct AttributeInfo {
  const char* name;
  bool is_list;
  int64_t minimum, maximum;    // of the value, or of each element of a list
  int min_length, max_length;  // of a list; else 1
  // Whether it chooses between rounding to nearest (0) and a stochastic purpose: by its name.
  bool is_rounding() const;
};

struct Check;

struct OpInfo {
  uint16_t opcode;
  const char* name;
  int min_inputs, max_inputs;
  int outputs;
  int sites;  // consecutive rounding sites a node reserves in grad and apply
  const AttributeInfo* attributes;
  int attribute_count;
  bool (*infer)(Check&);
  // Position of an attribute by name, or -1.
  int attribute(const char* attribute_name) const;
};

const OpInfo* find_op(uint16_t opcode);  // null: unknown
const OpInfo* all_ops(int* count);       // ordered by opcode

// The attribute values of a node in the order of the schema. Ranges are checked before infer runs.
struct Attributes {
  std::vector<std::vector<int64_t>> values;
  int64_t get(int i) const { return values[static_cast<size_t>(i)][0]; }
  const std::vector<int64_t>& list(int i) const { return values[static_cast<size_t>(i)]; }
};

// One node under judgement. infer_<name> reads `in`, writes `out` (already `op.outputs` long) and
// `multiply_adds`, and returns true; or returns fail(...). It must reject every node that a kernel
// could not execute for all batch sizes up to max_batch, and set the proved bound of each i64
// output. The caller has checked arity and attribute ranges; afterwards it checks rank, element
// counts and bounds of what was derived.
struct Check {
  const OpInfo& op;
  const Attributes& attributes;
  const std::vector<Type>& in;
  int64_t max_batch;
  Error* error;
  int node;  // for messages; -1 outside a program
  std::vector<Type> out;
  Count multiply_adds;

  // Records "<op>, node <i>: <message>" and returns false. Rule first, then the value received.
  bool fail(Status status, const char* format, ...) __attribute__((format(printf, 3, 4)));

  int64_t attr(int i) const { return attributes.get(i); }
  const std::vector<int64_t>& list(int i) const { return attributes.list(i); }

  // The checks that most operators share; each fails with a message that names the input.
  bool require_dtype(int input, std::initializer_list<DType> accepted);
  bool require_rank(int input, int minimum, int maximum);
  bool require_shared(int input);  // no batch axis, not partial
  bool require_same_shape(int a, int b);
  bool require_not_partial();  // no input is partial: what all but exact sums need
  // fraction bits in range, then sets an i64 output of this shape and bound.
  bool set_exact(int output, const std::vector<int64_t>& dims, int fraction_bits, uint64_t bound,
                 bool partial = false);
  // An output of the same shape as `like`, rounded to the attributes dtype, fraction_bits.
  bool set_rounded(int output, const Type& like, int64_t dtype, int64_t fraction_bits);
  // dims of an input as a vector.
  std::vector<int64_t> dims(int input) const;
};

// a * b with saturation far above kMaxBound; operands are bounds or counts.
uint64_t bound_mul(uint64_t a, uint64_t b);
uint64_t bound_add(uint64_t a, uint64_t b);
uint64_t bound_shl(uint64_t a, int shift);  // shift >= 0

// Judges one node: arity, attribute ranges, infer, then rank, elements and bounds of the outputs.
bool infer_node(Check& check);

}  // namespace gvm
