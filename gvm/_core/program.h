// A checked program: what gvm_program_new makes of canonical bytes (docs/program.md). Immutable.
#pragma once

#include <cstdint>
#include <vector>

#include "hash.h"
#include "op.h"
#include "status.h"
#include "types.h"

namespace gvm {

constexpr int64_t kSemanticsVersion = 1;
constexpr int64_t kMaxBatchLimit = int64_t{1} << 22;
constexpr int kLossFractionBits = 24;
constexpr size_t kAlignment = 64;         // of every tensor in a flat buffer and in memory
constexpr uint32_t kMaxSites = 1u << 24;  // numerics section 3
constexpr size_t kMaxTables = 256;        // different tables of unary functions in a program
constexpr uint64_t kMaxCount = uint64_t{1} << 62;  // costs saturate here

// Each at most kMaxCount. `nodes` also limits the tensors of a section and the outputs.
struct Limits {
  uint64_t program_bytes = uint64_t{1} << 26;
  uint64_t nodes = uint64_t{1} << 16;
  uint64_t parameter_bytes = uint64_t{1} << 36;
  uint64_t memory_bytes = uint64_t{1} << 40;
  uint64_t multiply_adds = uint64_t{1} << 60;
};

struct Node {
  const OpInfo* op;
  Attributes attributes;
  std::vector<int> inputs, outputs;  // value numbers of the function
  uint32_t site;                     // first rounding site; grad and apply only
  Count multiply_adds;
};

// Nodes up to a reduce. Partial values `reduce` are summed over all shards into the values
// `totals`.
struct Segment {
  size_t first_node = 0;  // number of its first node in the function
  std::vector<Node> nodes;
  std::vector<int> reduce, totals;
};

// Values are numbered: what is given first, then node outputs and totals in order of appearance.
struct Function {
  std::vector<Type> values;
  int given = 0;
  std::vector<Segment> segments;  // one, except for grad
  std::vector<int> outputs;
  bool present() const { return !segments.empty(); }
  size_t node_count() const {
    return segments.empty() ? 0 : segments.back().first_node + segments.back().nodes.size();
  }
};

enum FunctionKind { kPredict = 0, kLoss = 1, kGrad = 2, kApply = 3, kFunctions = 4 };
const char* function_name(FunctionKind kind);

// A flat buffer of tensors: little-endian, each at a multiple of 64 bytes, zero between.
struct Layout {
  std::vector<Type> types;
  std::vector<uint64_t> offsets;
  uint64_t bytes = 0;
};

struct TotalInfo {
  Type type;
  uint64_t offset;  // in elements
  uint32_t segment;
};

struct Program {
  int64_t max_batch = 0;
  std::vector<Type> inputs, labels;
  Layout parameters, state;
  Function functions[kFunctions];
  std::vector<TotalInfo> totals;
  uint64_t total_elements = 0;
  uint32_t sites = 0;
  uint64_t memory_bytes = 0;  // the limit for a function at max_batch
  Hash graph_id{}, train_id{};
  std::vector<uint8_t> parameter_types;  // their canonical bytes, part of parameters_id
};

// Decodes strictly and judges everything. False: `error` says what is wrong.
bool load_program(const uint8_t* bytes, size_t size, const Limits& limits, Program* program,
                  Error* error);

// Saturates at kMaxCount.
struct Cost {
  uint64_t nodes = 0, multiply_adds = 0, bytes_moved = 0, peak_bytes = 0;
};
Cost function_cost(const Function& function, int64_t batch);

// Copies between a little-endian flat buffer and host memory; reading checks size and padding.
// `name` is for messages.
bool check_buffer(const Layout& layout, const char* name, const uint8_t* bytes, size_t size,
                  Error* error);
void decode_buffer(const Layout& layout, const uint8_t* bytes, uint8_t* host);
void encode_buffer(const Layout& layout, const uint8_t* host, uint8_t* bytes);

}  // namespace gvm
