// One element of one result, decided without the model: what a claim (docs/traces.md) shows, what
// the element is computed from, and what it is. gvm/trace/claim.py and gvm/reads.py are the Python
// twins.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "op.h"
#include "status.h"

namespace gvm {

constexpr int64_t kClaimTerms = 128;  // of a sum that are added up at once
constexpr int64_t kTreeChunk = 1024;
constexpr int64_t kTreeHash = 32;

struct Bytes {
  const uint8_t* data = nullptr;
  size_t size = 0;
};

// Chunks of a byte string, ascending, and the chaining values beside them from left to right.
struct Slice {
  struct Chunk {
    uint64_t index;
    Bytes bytes;
    bool read = false;
  };
  std::vector<Chunk> chunks;
  Bytes path;

  // Whether these are the chunks that they say of `size` bytes with the hash `root`.
  bool proves(const uint8_t* root, uint64_t size) const;
  // `length` bytes from `at` on, within one chunk, which is marked; null where it is not here.
  const uint8_t* read(uint64_t at, uint64_t length);
};

// A node as its descriptor has it.
struct ClaimedNode {
  const OpInfo* op = nullptr;
  bool apply = false;
  Attributes attributes;
  std::vector<uint64_t> inputs, outputs;
  std::vector<Type> in, out;
  uint32_t site = 0;
};

// Views into the bytes that were read, which must stay.
struct ElementClaim {
  Bytes root, listing, descriptor;
  uint64_t count = 0, batch = 0, seed = 0, step = 0;
  uint64_t value = 0, element = 0, first = 0, last = 0;
  Slice described, values;
  std::vector<Slice> operands;
};

bool read_claim(const uint8_t* bytes, size_t size, ElementClaim* claim, Error* error);
// The node of the claimed value: proved, and accepted by its operator for the batch of the claim.
bool read_node(const ElementClaim& claim, ClaimedNode* node, Error* error);
// Whether the operands' hashes, and their chunks, are those of the step.
bool prove_operands(const ElementClaim& claim, const ClaimedNode& node, Error* error);

// Extents, or a place, along each axis.
struct Dims {
  int rank = 0;
  int64_t d[kMaxRank] = {};

  int64_t& operator[](int i) { return d[i]; }
  int64_t operator[](int i) const { return d[i]; }
  void push(int64_t v) { d[rank++] = v; }
  int64_t elements() const;
  // Elements from one index to the next along each axis.
  Dims strides() const;
  // The row-major index of a place, which may be shorter: then the rest is 0.
  int64_t flat(const Dims& at) const;
  Dims unflat(int64_t index) const;
};

// The indices start, start + step, ... along an axis, `count` of them.
struct Range {
  int64_t start = 0, count = 1, step = 1;
};

struct Box {
  int rank = 0;
  Range along[kMaxRank];

  void push(Range r) { along[rank++] = r; }
  Dims extents() const;
};

// Which element of an input a term takes: base plus the sum of steps times its coordinates.
struct Factor {
  int input = 0;
  int64_t base = 0;
  Dims steps;
};

// What one element is computed from: an exact sum of products, or the same node on boxes cut out of
// its operands.
struct Reads {
  enum Kind { kSum, kPart, kRefused, kMissing } kind = kSum;
  // Sum: a term has a coordinate along each extent, row-major.
  Dims terms;
  std::vector<Factor> factors;
  bool chosen = false;  // only terms whose element of `where` is `equals`
  Factor where;
  int64_t equals = 0;
  // Part
  std::vector<Box> inputs;
  std::vector<Box> needed;  // what of them is read, the rest being 0; empty: all
  Box output;
  bool cropped = false;  // `padding` in place of that of the node
  std::vector<int64_t> padding;
};

// A node with the shapes of a step, and the element of which of its results is asked for.
struct Place {
  const OpInfo& op;
  const Attributes& attributes;
  std::vector<Dims> in;
  Dims out;
  Dims at;
  // An element of an input by its row-major index; false where it is not shown.
  std::function<bool(int, int64_t, int64_t*)> peek;

  int64_t integer(const char* name) const;
  const std::vector<int64_t>& list(const char* name) const;
};

// reads_<name> of each operator; *reads is empty when it begins.
#define GVM_NO_ATTR
#define GVM_ATTR(name, is_list, minimum, maximum, shortest, longest)
#define GVM_OP(opcode, name, least, most, outputs, sites, attributes) \
  void reads_##name(const Place& place, Reads* reads);
#include "ops.inc"
#undef GVM_OP
#undef GVM_ATTR
#undef GVM_NO_ATTR

void reads_of(const Place& place, Reads* reads);

// What most operators are made of.
Range all_of(int64_t extent);
Range only(int64_t index);
Box point(const Dims& at);
// The box through a place that is whole along axes [from, to).
Box through(const Dims& at, int from, int to, const Dims& shape);
void elementwise(const Place& place, Reads* reads);
// The element that is one of an input.
void copied(int input, int64_t index, Reads* reads);
// An element that is 0 whatever the operands.
void nothing(Reads* reads);

struct ElementVerdict {
  bool refused = false;  // the operator refuses its operands: every claim is wrong
  int64_t value = 0;
};

// Decides a claim. A positive status: it proves nothing. memory: bytes of operands and results at
// most.
bool decide(const uint8_t* bytes, size_t size, uint64_t memory, ElementVerdict* finding,
            Error* error);

}  // namespace gvm
