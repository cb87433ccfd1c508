// The bytes of a claim: what it says, and that all it shows is under its roots.
#include <algorithm>
#include <cstring>
#include <string_view>

#include "abi.h"
#include "cbor.h"
#include "hash.h"
#include "program.h"
#include "referee.h"

namespace gvm {

namespace {

constexpr uint64_t kNumbers = uint64_t{1} << 32;  // of values: all below

uint64_t chunk_count(uint64_t size) {
  return std::max<uint64_t>(1, size / kTreeChunk + (size % kTreeChunk != 0 ? 1 : 0));
}

// The number of the row in which so many chunks have become one node.
int height(uint64_t count) {
  int rows = 0;
  while (rows < 63 && (uint64_t{1} << rows) < count) ++rows;
  return rows;
}

// Rows are numbered from the chunks, row 0, up; an odd last node of a row is carried to the next.
struct Prover {
  const std::vector<Slice::Chunk>& chunks;
  uint64_t count;
  int top;
  const uint8_t* path;
  size_t left;

  // The node (row, index), below which chunks [from, to) are shown; false: the path is too short.
  bool value(int row, uint64_t index, size_t from, size_t to, uint8_t* made) {
    if (from == to) {
      if (left == 0) return false;
      std::memcpy(made, path, kTreeHash);
      path += kTreeHash;
      --left;
      return true;
    }
    if (row == 0) {
      const Slice::Chunk& c = chunks[from];
      blake3_chunks(c.bytes.data, c.bytes.size, c.index, count == 1, made);
      return true;
    }
    const uint64_t middle = (2 * index + 1) << (row - 1);
    size_t cut = from;
    while (cut < to && chunks[cut].index < middle) ++cut;
    uint8_t nodes[2 * kTreeHash];
    if (!value(row - 1, 2 * index, from, cut, nodes)) return false;
    const uint64_t width = ((count - 1) >> (row - 1)) + 1;
    if (2 * index + 1 >= width) {
      std::memcpy(made, nodes, kTreeHash);
      return true;
    }
    if (!value(row - 1, 2 * index + 1, cut, to, nodes + kTreeHash)) return false;
    blake3_parent(nodes, nodes + kTreeHash, row == top, made);
    return true;
  }
};

// Reads fields of a claim and of a descriptor; `error` has the first fault.
struct Reader {
  CborReader cbor;
  Error* error;

  bool fail(const char* rule) {
    return error->fail(Status::bad_encoding, "not a claim: %s",
                       cbor.error() != nullptr ? cbor.error() : rule);
  }
  bool integer(int64_t least, int64_t most, int64_t* value) {
    if (!cbor.read_int(value)) return fail("an integer is needed");
    return (*value >= least && *value <= most) || fail("an integer is out of range");
  }
  // limit 0: any.
  bool number(std::string_view key, uint64_t limit, uint64_t* value) {
    if (!cbor.expect_key(key) || !cbor.read_unsigned(value)) return fail("a field is missing");
    return limit == 0 || *value < limit || fail("a number is out of range");
  }
  bool bytes(Bytes* b) {
    return cbor.read_bytes(&b->data, &b->size) || fail("a byte string is needed");
  }
  bool hash(std::string_view key, Bytes* b) {
    if (!cbor.expect_key(key)) return fail("a field is missing");
    return bytes(b) && (b->size == static_cast<size_t>(kTreeHash) || fail("a root has 32 bytes"));
  }
  bool slice(Slice* s) {
    size_t count = 0;
    if (!cbor.read_array_of(2) || !cbor.read_array(&count)) return fail("a slice is needed");
    for (size_t i = 0; i < count; ++i) {
      Slice::Chunk c;
      if (!cbor.read_array_of(2) || !cbor.read_unsigned(&c.index)) return fail("a chunk is needed");
      if (!bytes(&c.bytes)) return false;
      if (!s->chunks.empty() && c.index <= s->chunks.back().index) {
        return fail("chunks must ascend");
      }
      s->chunks.push_back(c);
    }
    return bytes(&s->path);
  }
  bool array(size_t most, size_t* count) {
    if (!cbor.read_array(count)) return fail("an array is needed");
    return *count <= most || fail("an array is too long");
  }
  bool numbers(std::vector<uint64_t>* list) {
    size_t count = 0;
    if (!array(kMost, &count)) return false;
    for (size_t i = 0; i < count; ++i) {
      int64_t v = 0;
      if (!integer(0, kNumbers - 1, &v)) return false;
      list->push_back(static_cast<uint64_t>(v));
    }
    return true;
  }
  bool type(gvm_type* t) {
    std::memset(t, 0, sizeof *t);
    int64_t v = 0;
    bool partial = false;
    size_t rank = 0;
    if (!cbor.read_array_of(5)) return fail("a type is needed");
    if (!integer(GVM_I16, GVM_BOOL, &v)) return false;
    t->dtype = static_cast<uint8_t>(v);
    if (!integer(kMinFractionBits, kMaxFractionBits, &v)) return false;
    t->fraction_bits = static_cast<int8_t>(v);
    if (!array(kMaxRank, &rank)) return false;
    t->rank = static_cast<uint8_t>(rank);
    for (size_t i = 0; i < rank; ++i) {
      if (!integer(kBatch, kMaxElements, &t->dims[i])) return false;
    }
    if (!cbor.read_bool(&partial)) return fail("a truth value is needed");
    t->partial = partial ? 1 : 0;
    if (!integer(0, static_cast<int64_t>(kMaxBound), &v)) return false;
    t->bound = static_cast<uint64_t>(v);
    return true;
  }
  bool types(std::vector<gvm_type>* list) {
    size_t count = 0;
    if (!array(kMost, &count)) return false;
    for (size_t i = 0; i < count; ++i) {
      gvm_type t;
      if (!type(&t)) return false;
      list->push_back(t);
    }
    return true;
  }
  bool attributes(Attributes* a) {
    size_t count = 0;
    if (!array(kMost, &count)) return false;
    for (size_t i = 0; i < count; ++i) {
      std::vector<int64_t> values(1);
      if (cbor.peek() == CborType::kArray) {
        size_t length = 0;
        if (!array(kMost, &length)) return false;
        values.assign(length, 0);
      }
      for (int64_t& v : values) {
        if (!integer(INT64_MIN, INT64_MAX, &v)) return false;
      }
      a->values.push_back(std::move(values));
    }
    return true;
  }

  static constexpr size_t kMost = 65536;  // of any list in a descriptor
};

// Whether a result is what was said: the bound of a sum over examples is that of the largest batch.
bool same(const gvm_type& said, const Type& inferred) {
  const gvm_type mine = from_type(inferred);
  return said.dtype == mine.dtype && said.fraction_bits == mine.fraction_bits &&
         said.partial == mine.partial && said.rank == mine.rank &&
         std::equal(said.dims, said.dims + said.rank, mine.dims) &&
         (said.dtype != GVM_I64 || mine.bound <= said.bound);
}

// A slice that is the one chunk with the hash of value `number`, of `count` under `root`.
bool one_hash(Slice slice, const uint8_t* root, uint64_t count, uint64_t number, uint8_t* hash) {
  const uint64_t at = number * kTreeHash;
  if (slice.chunks.size() != 1 || slice.chunks[0].index != at / kTreeChunk) return false;
  if (!slice.proves(root, count * kTreeHash)) return false;
  const uint8_t* found = slice.read(at, kTreeHash);
  if (found == nullptr) return false;
  std::memcpy(hash, found, kTreeHash);
  return true;
}

}  // namespace

bool Slice::proves(const uint8_t* root, uint64_t size) const {
  const uint64_t count = chunk_count(size);
  if (path.size % kTreeHash != 0) return false;
  for (const Chunk& c : chunks) {
    if (c.index >= count) return false;
    const uint64_t rest = size - c.index * kTreeChunk;
    if (c.bytes.size != std::min<uint64_t>(rest, kTreeChunk)) return false;
  }
  Prover prover{chunks, count, height(count), path.data,
                static_cast<size_t>(path.size / kTreeHash)};
  uint8_t found[kTreeHash];
  return prover.value(prover.top, 0, 0, chunks.size(), found) && prover.left == 0 &&
         std::memcmp(found, root, kTreeHash) == 0;
}

const uint8_t* Slice::read(uint64_t at, uint64_t length) {
  const uint64_t index = at / kTreeChunk, inside = at % kTreeChunk;
  const auto found = std::lower_bound(chunks.begin(), chunks.end(), index,
                                      [](const Chunk& c, uint64_t i) { return c.index < i; });
  if (found == chunks.end() || found->index != index || inside + length > found->bytes.size) {
    return nullptr;
  }
  found->read = true;
  return found->bytes.data + inside;
}

bool read_claim(const uint8_t* bytes, size_t size, ElementClaim* claim, Error* error) {
  Reader r{CborReader(bytes, size), error};
  constexpr uint64_t kIndex = uint64_t{1} << 42;
  uint64_t version = 0;
  size_t operands = 0;
  if (!r.cbor.read_map_of(15)) return r.fail("a map of 15 fields is needed");
  if (!r.number("last", kIndex, &claim->last) || !r.hash("root", &claim->root) ||
      !r.number("seed", 0, &claim->seed) || !r.number("step", uint64_t{1} << 56, &claim->step) ||
      !r.number("batch", static_cast<uint64_t>(kMaxBatchLimit) + 1, &claim->batch) ||
      !r.number("count", kNumbers, &claim->count) || !r.number("first", kIndex, &claim->first) ||
      !r.number("value", kNumbers, &claim->value)) {
    return false;
  }
  if (!r.cbor.expect_key("values")) return r.fail("values are missing");
  if (!r.slice(&claim->values) || !r.number("element", kIndex, &claim->element) ||
      !r.hash("listing", &claim->listing) || !r.number("version", kNumbers, &version)) {
    return false;
  }
  if (version != 1) return r.fail("version 1 is needed");
  if (!r.cbor.expect_key("operands") || !r.array(Reader::kMost, &operands)) {
    return r.fail("operands are missing");
  }
  for (size_t i = 0; i < operands; ++i) {
    claim->operands.emplace_back();
    if (!r.slice(&claim->operands.back())) return false;
  }
  if (!r.cbor.expect_key("described")) return r.fail("described is missing");
  if (!r.slice(&claim->described)) return false;
  if (!r.cbor.expect_key("descriptor")) return r.fail("the descriptor is missing");
  if (!r.bytes(&claim->descriptor)) return false;
  if (!r.cbor.finish()) return r.fail("something follows");
  if (claim->value >= claim->count || claim->batch < 1) {
    return r.fail("value must be below count, batch at least 1");
  }
  return true;
}

bool read_node(const ElementClaim& claim, ClaimedNode* node, Error* error) {
  uint8_t hash[kTreeHash];
  if (!one_hash(claim.described, claim.listing.data, claim.count + 1, claim.value, hash)) {
    return error->fail(Status::bad_input, "not a chunk of the descriptors' hashes");
  }
  const Hash own = blake3(claim.descriptor.data, claim.descriptor.size);
  if (std::memcmp(own.data(), hash, kTreeHash) != 0) {
    return error->fail(Status::bad_input, "not the descriptor of the value");
  }
  Reader r{CborReader(claim.descriptor.data, claim.descriptor.size), error};
  std::string_view kind, function;
  int64_t v = 0;
  gvm_type type;
  std::vector<gvm_type> given, made;
  if (!r.cbor.read_array_of(4) || !r.cbor.read_text(&kind) || kind != "node") {
    return r.fail("not a node's result");
  }
  if (!r.integer(0, kNumbers - 1, &v) || !r.type(&type)) return false;
  if (!r.cbor.read_array_of(8) || !r.cbor.read_text(&function)) return r.fail("not a node");
  if (function != "grad" && function != "apply") return r.fail("not a function of a step");
  node->apply = function == "apply";
  if (!r.integer(0, UINT16_MAX, &v)) return false;
  node->op = find_op(static_cast<uint16_t>(v));
  if (!r.attributes(&node->attributes) || !r.numbers(&node->inputs) || !r.numbers(&node->outputs) ||
      !r.types(&given) || !r.types(&made)) {
    return false;
  }
  if (!r.integer(0, kNumbers - 1, &v)) return false;
  node->site = static_cast<uint32_t>(v);
  if (!r.cbor.finish()) return r.fail("something follows");
  if (node->op == nullptr) return error->fail(Status::unknown_operator, "unknown opcode");
  if (given.size() != node->inputs.size() || made.size() != node->outputs.size()) {
    return r.fail("a node has a type for each value");
  }
  if (std::find(node->outputs.begin(), node->outputs.end(), claim.value) == node->outputs.end()) {
    return error->fail(Status::bad_graph, "the value is not among the results");
  }
  for (const gvm_type& t : given) {
    Type made_type;
    if (!read_type(t, &made_type, error)) return false;
    node->in.push_back(made_type);
  }
  Check check{
      *node->op, node->attributes, node->in, static_cast<int64_t>(claim.batch), error, -1, {}, {}};
  if (!infer_node(check)) return false;
  node->out = check.out;
  if (uint64_t{node->site} + static_cast<uint64_t>(node->op->sites) > kMaxSites) {
    return error->fail(Status::bad_input, "site must be below 2^24, received %u", node->site);
  }
  bool batched = false, equal = made.size() == node->out.size();
  for (size_t i = 0; equal && i < made.size(); ++i) {
    equal = same(made[i], node->out[i]);
    if (made[i].dtype == GVM_I64) node->out[i].bound = made[i].bound;
  }
  if (!equal) return error->fail(Status::bad_type, "%s: results of other types", node->op->name);
  for (const Type& t : node->in) batched = batched || t.batched();
  for (const Type& t : node->out) batched = batched || t.batched();
  if (node->apply && batched) return error->fail(Status::bad_batch, "apply knows no batch");
  return true;
}

bool prove_operands(const ElementClaim& claim, const ClaimedNode& node, Error* error) {
  if (!claim.values.proves(claim.root.data, claim.count * kTreeHash)) {
    return error->fail(Status::bad_input, "the hashes of the operands are not those of the step");
  }
  if (claim.operands.size() != node.inputs.size()) {
    return error->fail(Status::bad_input, "operands must be %zu, received %zu", node.inputs.size(),
                       claim.operands.size());
  }
  Slice values = claim.values;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const uint64_t v = node.inputs[i];
    if (v >= claim.value) {
      return error->fail(Status::bad_input, "an operand does not stand before its node");
    }
    const uint8_t* hash = values.read(v * kTreeHash, kTreeHash);
    if (hash == nullptr) return error->fail(Status::bad_input, "the hash of an operand is missing");
    const Type& t = node.in[i];
    const int64_t elements = t.elements().at(static_cast<int64_t>(claim.batch));
    const int64_t bytes = elements * dtype_bytes(t.dtype);
    if (!claim.operands[i].proves(hash, static_cast<uint64_t>(bytes))) {
      return error->fail(Status::bad_input, "the chunks of operand %zu are not under its hash", i);
    }
  }
  for (const Slice::Chunk& c : values.chunks) {
    if (!c.read) return error->fail(Status::bad_input, "a chunk of hashes that is not read");
  }
  return true;
}

}  // namespace gvm
