// Decides claims: the sums by themselves, all else by the operator's own kernel on boxes.
#include "referee.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "session.h"

namespace gvm {

namespace {

// The operands of a node as a claim shows them.
class Shown {
 public:
  Shown(ElementClaim* claim, const ClaimedNode& node) : claim_(claim), node_(node) {}

  // One element; false where its chunk is not shown.
  bool read(int input, int64_t index, int64_t* value) {
    const Type& t = node_.in[static_cast<size_t>(input)];
    const int64_t size = dtype_bytes(t.dtype);
    const uint8_t* bytes = claim_->operands[static_cast<size_t>(input)].read(
        static_cast<uint64_t>(index) * static_cast<uint64_t>(size), static_cast<uint64_t>(size));
    if (bytes == nullptr) return false;
    uint64_t bits = 0;
    for (int64_t i = 0; i < size; ++i) bits |= uint64_t{bytes[i]} << (8 * i);
    switch (t.dtype) {
      case DType::i16:
        *value = static_cast<int16_t>(static_cast<uint16_t>(bits));
        break;
      case DType::i32:
        *value = static_cast<int32_t>(static_cast<uint32_t>(bits));
        break;
      case DType::i64:
        *value = static_cast<int64_t>(bits);
        break;
      default:
        *value = static_cast<int64_t>(bits);
    }
    const int64_t most = static_cast<int64_t>(t.bound);
    if (*value > most || *value < -most) outside_ = true;
    return true;
  }

  bool outside() const { return outside_; }

  bool all_read() const {
    for (const Slice& s : claim_->operands) {
      for (const Slice::Chunk& c : s.chunks) {
        if (!c.read) return false;
      }
    }
    return true;
  }

 private:
  ElementClaim* claim_;
  const ClaimedNode& node_;
  bool outside_ = false;
};

bool missing(Error* error) {
  return error->fail(Status::bad_input, "a chunk that is read is missing");
}

// What is shown must be what was read, no more.
bool finish(const Shown& shown, Error* error) {
  return shown.all_read() || error->fail(Status::bad_input, "a chunk that is not read");
}

int64_t place_of(const Factor& f, const Dims& at) {
  int64_t index = f.base;
  for (int i = 0; i < f.steps.rank; ++i) index += at[i] * f.steps[i];
  return index;
}

bool add_up(const ElementClaim& claim, const Reads& reads, Shown* shown, ElementVerdict* finding,
            Error* error) {
  const int64_t count = reads.terms.elements();
  const int64_t first = claim.last != 0 ? static_cast<int64_t>(claim.first) : 0;
  const int64_t last = claim.last != 0 ? static_cast<int64_t>(claim.last) : count;
  if (first > last || last > count || last - first > kClaimTerms) {
    return error->fail(Status::bad_input, "%lld terms, of which at most %lld are added up",
                       static_cast<long long>(count), static_cast<long long>(kClaimTerms));
  }
  // Every partial sum is within the bound that infer has proved, if the operands are within theirs.
  uint64_t sum = 0;
  for (int64_t term = first; term < last; ++term) {
    const Dims at = reads.terms.unflat(term);
    uint64_t product = 1;
    for (const Factor& f : reads.factors) {
      int64_t v = 0;
      if (!shown->read(f.input, place_of(f, at), &v)) return missing(error);
      product *= static_cast<uint64_t>(v);
    }
    int64_t index = reads.equals;
    if (reads.chosen && !shown->read(reads.where.input, place_of(reads.where, at), &index)) {
      return missing(error);
    }
    if (index == reads.equals) sum += product;
  }
  if (!finish(*shown, error)) return false;
  finding->refused = shown->outside();
  finding->value = finding->refused ? 0 : static_cast<int64_t>(sum);
  return true;
}

// A type with the extents of a box; the batch stays the batch.
Type cut(Type type, const Dims& extents) {
  for (int i = 0; i < type.rank; ++i) {
    if (type.dims[i] != kBatch) type.dims[i] = extents[i];
  }
  return type;
}

void store(DType dtype, uint8_t* at, int64_t value) {
  const int16_t narrow = static_cast<int16_t>(value);
  const int32_t middle = static_cast<int32_t>(value);
  switch (dtype) {
    case DType::i16:
      std::memcpy(at, &narrow, sizeof narrow);
      break;
    case DType::i32:
      std::memcpy(at, &middle, sizeof middle);
      break;
    case DType::i64:
      std::memcpy(at, &value, sizeof value);
      break;
    default:
      *at = static_cast<uint8_t>(value);
  }
}

int64_t load(DType dtype, const uint8_t* at) {
  int16_t narrow;
  int32_t middle;
  int64_t wide;
  switch (dtype) {
    case DType::i16:
      std::memcpy(&narrow, at, sizeof narrow);
      return narrow;
    case DType::i32:
      std::memcpy(&middle, at, sizeof middle);
      return middle;
    case DType::i64:
      std::memcpy(&wide, at, sizeof wide);
      return wide;
    default:
      return *at;
  }
}

// Reads what is needed of a box into memory that is 0 elsewhere.
bool fill(int input, const Dims& shape, const Box& box, const Box& needed, DType dtype,
          Shown* shown, uint8_t* data, Error* error) {
  const Dims extents = needed.extents(), room = box.extents();
  const int64_t count = extents.elements();
  for (int64_t i = 0; i < count; ++i) {
    const Dims at = extents.unflat(i);
    Dims whole, inside;
    for (int a = 0; a < box.rank; ++a) {
      whole.push(needed.along[a].start + at[a] * needed.along[a].step);
      inside.push(whole[a] - box.along[a].start);
    }
    int64_t value = 0;
    if (!shown->read(input, shape.flat(whole), &value)) return missing(error);
    store(dtype, data + room.flat(inside) * dtype_bytes(dtype), value);
  }
  return true;
}

bool within(const Box& box, const Dims& shape) {
  for (int i = 0; i < box.rank; ++i) {
    const Range& r = box.along[i];
    if (r.count < 0 || r.start < 0 || r.start + (r.count - 1) * r.step >= shape[i]) return false;
  }
  return true;
}

// The examples of a box of a batched tensor are one: that of the element.
int64_t example_of(const Type& type, const Dims& at) {
  const int axis = type.batch_axis();
  return axis < 0 ? 0 : at[axis];
}

bool compute(const ElementClaim& claim, const ClaimedNode& node, const Place& place, size_t output,
             const Reads& reads, uint64_t memory, Shown* shown, ElementVerdict* finding,
             Error* error) {
  if (claim.first != 0 || claim.last != 0) {
    return error->fail(Status::bad_input, "the element is no sum");
  }
  const auto count = [](const Box& box) { return box.extents().elements(); };
  uint64_t bytes = 0;
  const auto add = [&](int64_t elements, DType dtype) {
    bytes += static_cast<uint64_t>(
        saturating_mul(saturating_add(elements, 64), dtype_bytes(dtype)));  // and its alignment
  };
  for (size_t i = 0; i < reads.inputs.size(); ++i) {
    if (!within(reads.inputs[i], place.in[i])) {
      return error->fail(Status::internal, "%s: a box outside of its operand", node.op->name);
    }
    add(count(reads.inputs[i]), node.in[i].dtype);
  }
  for (const Type& t : node.out) add(count(reads.output), t.dtype);
  if (bytes > memory) {
    return error->fail(Status::over_limit, "%s: the element needs %llu bytes, the limit is %llu",
                       node.op->name, static_cast<unsigned long long>(bytes),
                       static_cast<unsigned long long>(memory));
  }
  std::vector<Buffer> held;
  std::vector<Tensor> in(node.in.size()), out(node.out.size());
  const auto make = [&](const Type& type, const Dims& extents, Tensor* tensor) {
    const Type small = cut(type, extents);
    held.emplace_back(static_cast<uint64_t>(extents.elements() * dtype_bytes(type.dtype)));
    set_tensor(tensor, small, 1, held.back().data());
  };
  held.reserve(in.size() + out.size());
  for (size_t i = 0; i < in.size(); ++i) {
    const Box& needed = reads.needed.empty() ? reads.inputs[i] : reads.needed[i];
    make(node.in[i], reads.inputs[i].extents(), &in[i]);
    if (!fill(static_cast<int>(i), place.in[i], reads.inputs[i], needed, node.in[i].dtype, shown,
              held.back().data(), error)) {
      return false;
    }
  }
  if (!finish(*shown, error)) return false;
  finding->refused = shown->outside();
  if (finding->refused) return true;
  for (size_t i = 0; i < out.size(); ++i) make(node.out[i], reads.output.extents(), &out[i]);

  // Where the element stands among what is computed; all draws are those of the whole.
  Dims inside;
  for (int i = 0; i < place.at.rank; ++i) inside.push(place.at[i] - reads.output.along[i].start);
  const int64_t position = reads.output.extents().flat(inside);
  Attributes attributes = node.attributes;
  if (reads.cropped) {
    attributes.values[static_cast<size_t>(node.op->attribute("padding"))] = reads.padding;
  }
  const int64_t batch = node.apply ? 1 : static_cast<int64_t>(claim.batch);
  int64_t clamps = 0;
  Threads threads(1);
  SlotScratch scratch;
  Call call;
  call.op = node.op;
  call.attributes = &attributes;
  call.in = in.data();
  call.inputs = static_cast<int>(in.size());
  call.out = out.data();
  call.batch = {1, example_of(node.out[output], place.at), batch,
                static_cast<int64_t>(claim.element) - position};
  call.first = call.batch.origin;
  call.seed = claim.seed;
  call.step = claim.step;
  call.site = node.site;
  call.threads = &threads;
  call.cpu = &cpu_kernels(CpuLevel::scalar);
  call.scratch = &scratch;
  call.clamps = &clamps;
  Error refusal;
  call.error = &refusal;
  const Status status = cpu_kernel(*node.op).run(call);
  if (static_cast<int>(status) < 0) {
    return error->fail(status, "%s", refusal.message.c_str());
  }
  finding->refused = status != Status::ok;
  if (finding->refused) return true;
  const DType dtype = node.out[output].dtype;
  finding->value =
      load(dtype, static_cast<uint8_t*>(out[output].data) + position * dtype_bytes(dtype));
  return true;
}

}  // namespace

bool decide(const uint8_t* bytes, size_t size, uint64_t memory, ElementVerdict* finding,
            Error* error) {
  ElementClaim claim;
  ClaimedNode node;
  if (!read_claim(bytes, size, &claim, error) || !read_node(claim, &node, error) ||
      !prove_operands(claim, node, error)) {
    return false;
  }
  const auto shape = [&](const Type& t) {
    Dims dims;
    for (int i = 0; i < t.rank; ++i) {
      dims.push(t.dims[i] == kBatch ? static_cast<int64_t>(claim.batch) : t.dims[i]);
    }
    return dims;
  };
  const size_t output = static_cast<size_t>(
      std::find(node.outputs.begin(), node.outputs.end(), claim.value) - node.outputs.begin());
  const Dims out = shape(node.out[output]);
  if (claim.element >= static_cast<uint64_t>(out.elements())) {
    return error->fail(Status::bad_input, "the value has no such element");
  }
  Shown shown(&claim, node);
  Place place{
      *node.op,
      node.attributes,
      {},
      out,
      out.unflat(static_cast<int64_t>(claim.element)),
      [&](int input, int64_t index, int64_t* value) { return shown.read(input, index, value); }};
  for (const Type& t : node.in) place.in.push_back(shape(t));
  if (node.in.empty()) {  // example_count
    if (claim.first != 0 || claim.last != 0) {
      return error->fail(Status::bad_input, "the element is no sum");
    }
    finding->value = node.apply ? 1 : static_cast<int64_t>(claim.batch);
    return true;
  }
  Reads reads;
  reads_of(place, &reads);
  switch (reads.kind) {
    case Reads::kMissing:
      return missing(error);
    case Reads::kRefused:
      finding->refused = true;
      return finish(shown, error);
    case Reads::kSum:
      return add_up(claim, reads, &shown, finding, error);
    case Reads::kPart:
      break;
  }
  return compute(claim, node, place, output, reads, memory, &shown, finding, error);
}

}  // namespace gvm
