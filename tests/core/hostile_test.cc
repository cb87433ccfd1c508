// Damaged programs through gvm.h: whatever loads is executed at tiny sizes on every CPU level, and
// all levels agree. Made for the sanitizers; argv[1] is tests/vectors, argv[2] (optional) how many
// random programs to make of each file.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "cbor.h"
#include "gvm/gvm.h"

namespace {

using Bytes = std::vector<uint8_t>;

constexpr uint64_t kMostTensor = 1 << 16;  // elements that the test is willing to fill

int failures = 0;
uint64_t loaded = 0, executed = 0, refused = 0;

void check(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "hostile_test: %s\n", what.c_str());
}

// The same numbers on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t n) { return next() % n; }

 private:
  uint64_t state_;
};

// ---- What an accepted program is put through

uint64_t bytes_of(uint8_t dtype) {
  switch (dtype) {
    case GVM_I16:
      return 2;
    case GVM_I32:
      return 4;
    case GVM_I64:
      return 8;
    default:
      return 1;
  }
}

uint64_t elements_of(const gvm_type& t, uint64_t batch) {
  uint64_t n = 1;
  for (int i = 0; i < t.rank; ++i) {
    const uint64_t d = t.dims[i] == -1 ? batch : static_cast<uint64_t>(t.dims[i]);
    n = d > kMostTensor || n > kMostTensor ? kMostTensor + 1 : n * d;
  }
  return n;
}

// Values at the limits, small ones, and anything; labels are often in range.
void paint(const gvm_type& t, Random* random, uint8_t* bytes, uint64_t n) {
  const uint64_t kind = random->below(4), each = bytes_of(t.dtype);
  for (uint64_t i = 0; i < n; ++i) {
    int64_t q = static_cast<int64_t>(random->next());
    const int64_t most = t.dtype == GVM_I16 ? INT16_MAX : t.dtype == GVM_I32 ? INT32_MAX : 255;
    if (kind == 0) q = (q & 1) != 0 ? most : -most - 1;
    if (kind >= 2) q &= 255;
    if (t.dtype == GVM_I32 && t.fraction_bits == 0 && kind != 0) q = q & 1;
    if (t.dtype == GVM_BOOL) q &= 1;
    std::memcpy(bytes + i * each, &q, each);  // the low bytes: the test runs on little-endian hosts
  }
}

// Aligned memory for one tensor of each kind, exactly as long as it must be: a byte more is an
// error.
struct Tensors {
  std::vector<std::vector<uint64_t>> memory;
  std::vector<void*> pointers;
  std::vector<uint64_t> sizes;

  bool add(const gvm_program* program, int section, uint32_t count, uint64_t batch,
           Random* random) {
    for (uint32_t i = 0; i < count; ++i) {
      gvm_tensor_info info;
      info.struct_size = sizeof info;
      if (gvm_program_get_tensor(program, section, i, &info) != GVM_OK) return false;
      const uint64_t n = elements_of(info.type, batch);
      if (n > kMostTensor) return false;
      const uint64_t bytes = n * bytes_of(info.type.dtype);
      memory.emplace_back((bytes + 7) / 8);
      // At the end of the block, so that the first byte beyond is not ours. Alignment stays.
      uint8_t* const end = reinterpret_cast<uint8_t*>(memory.back().data() + memory.back().size());
      uint8_t* const at = end - bytes;
      if (random != nullptr) paint(info.type, random, at, n);
      pointers.push_back(at);
      sizes.push_back(bytes);
    }
    return true;
  }
  const void* const* data() const { return pointers.data(); }
};

struct Handles {
  gvm_program* program = nullptr;
  gvm_session* session = nullptr;
  gvm_shard* shards[2] = {};
  ~Handles() {
    for (gvm_shard* s : shards) gvm_shard_free(s);
    gvm_session_free(session);
    gvm_program_free(program);
  }
};

// Everything a level computes, as bytes: two levels must agree on all of it, statuses included.
struct Trace {
  Bytes bytes;
  void add(const void* data, size_t size) {
    const uint8_t* p = static_cast<const uint8_t*>(data);
    bytes.insert(bytes.end(), p, p + size);
  }
  void status(int s) {
    check(s >= 0, std::string("a host failure: ") + gvm_status_name(s));
    add(&s, sizeof s);
  }
};

void paint_section(gvm_session* session, const gvm_program* program, int section, uint32_t count,
                   uint64_t bytes, Random* random) {
  Bytes buffer(bytes, 0);
  for (uint32_t i = 0; i < count; ++i) {
    gvm_tensor_info info;
    info.struct_size = sizeof info;
    gvm_program_get_tensor(program, section, i, &info);
    paint(info.type, random, buffer.data() + info.offset, elements_of(info.type, 1));
  }
  gvm_error error;
  check(gvm_session_write(session, section, buffer.data(), buffer.size(), &error) == GVM_OK,
        error.message);
}

void run_training(Handles* h, const gvm_program_info& info, uint64_t batch, Random* random,
                  Trace* trace) {
  gvm_error error;
  Tensors inputs[2], labels[2];
  const uint64_t local[2] = {(batch + 1) / 2, batch / 2};
  const int shards = batch > 1 ? 2 : 1;
  std::vector<int64_t> totals(info.totals), sums(info.totals);
  for (int i = 0; i < shards; ++i) {
    if (!inputs[i].add(h->program, GVM_INPUTS, info.inputs, local[i], random) ||
        !labels[i].add(h->program, GVM_LABELS, info.labels, local[i], random)) {
      return;
    }
    const gvm_batch where = {sizeof where, local[i], i * local[0], batch, 5, 6};
    const int status = gvm_shard_new(h->session, &where, inputs[i].data(), labels[i].data(),
                                     &h->shards[i], &error);
    trace->status(status);
    if (status != GVM_OK) return;
  }
  for (uint32_t segment = 0; segment < info.segments; ++segment) {
    std::fill(sums.begin(), sums.end(), 0);
    for (int i = 0; i < shards; ++i) {
      const int status = gvm_shard_run(h->shards[i], segment, totals.data(), sums.data(), &error);
      trace->status(status);
      if (status != GVM_OK) return;
    }
    for (size_t e = 0; e < totals.size(); ++e) totals[e] += sums[e];
  }
  trace->add(totals.data(), totals.size() * sizeof(int64_t));
  if (info.has_apply == 0) return;
  for (uint64_t step = 0; step < 2; ++step) {
    trace->status(gvm_session_apply(h->session, totals.data(), 5, step, &error));
    // Then totals that are wrong, or at the ends of what was proved.
    for (uint32_t i = 0; i < info.total_tensors; ++i) {
      gvm_tensor_info t;
      t.struct_size = sizeof t;
      gvm_program_get_tensor(h->program, GVM_TOTALS, i, &t);
      const int64_t bound = static_cast<int64_t>(t.type.bound);
      const uint64_t n = elements_of(t.type, 1);
      for (uint64_t e = 0; e < n; ++e)
        totals[t.offset + e] = random->below(2) != 0 ? bound : -bound;
      if (t.type.rank == 0 && random->below(4) != 0) totals[t.offset] = bound;
    }
  }
  const gvm_batch whole = {sizeof whole, local[0], 0, local[0], 5, 7};
  trace->status(gvm_session_step(h->session, &whole, inputs[0].data(), labels[0].data(),
                                 totals.data(), totals.size(), &error));
  trace->add(totals.data(), totals.size() * sizeof(int64_t));
}

Trace execute(const gvm_program* const program, Handles* h, int level, uint64_t seed) {
  Trace trace;
  gvm_program_info info;
  info.struct_size = sizeof info;
  check(gvm_program_get_info(program, &info) == GVM_OK, "info");
  const gvm_options options = {sizeof options, 1 + static_cast<uint32_t>(seed & 1), level};
  gvm_error error;
  check(gvm_session_new(program, &options, &h->session, &error) == GVM_OK, error.message);
  if (h->session == nullptr) return trace;
  Random random(seed);
  paint_section(h->session, program, GVM_PARAMETERS, info.parameters, info.parameter_bytes,
                &random);
  paint_section(h->session, program, GVM_STATE, info.state, info.state_bytes, &random);
  for (uint64_t batch : {uint64_t{2}, uint64_t{1}, uint64_t{3}}) {
    if (batch > info.max_batch) continue;
    Tensors inputs, labels, outputs;
    if (!inputs.add(program, GVM_INPUTS, info.inputs, batch, &random) ||
        !labels.add(program, GVM_LABELS, info.labels, batch, &random) ||
        !outputs.add(program, GVM_OUTPUTS, info.outputs, batch, nullptr)) {
      return trace;
    }
    ++executed;
    trace.status(
        gvm_session_predict(h->session, inputs.data(), batch, outputs.pointers.data(), &error));
    for (size_t i = 0; i < outputs.pointers.size(); ++i) {
      trace.add(outputs.pointers[i], outputs.sizes[i]);
    }
    if (info.loss_outputs != 0) {
      gvm_loss loss = {0, 0, 0};
      trace.status(
          gvm_session_loss(h->session, inputs.data(), labels.data(), batch, &loss, &error));
      trace.add(&loss, sizeof loss);
    }
    if (batch == 2) {
      char plan[256];
      for (int f = 0; f < 4; ++f) gvm_session_plan(h->session, f, batch, plan, sizeof plan);
    }
  }
  if (info.segments != 0) {
    run_training(h, info, std::min<uint64_t>(3, info.max_batch), &random, &trace);
  }
  for (int section : {GVM_PARAMETERS, GVM_STATE}) {
    Bytes buffer(section == GVM_STATE ? info.state_bytes : info.parameter_bytes);
    check(gvm_session_read(h->session, section, buffer.data(), buffer.size(), &error) == GVM_OK,
          error.message);
    trace.add(buffer.data(), buffer.size());
  }
  return trace;
}

// Loads the bytes; if they are a program, runs it on all levels.
void put_through(const Bytes& bytes, uint64_t seed) {
  const gvm_limits limits = {sizeof limits, 1 << 16, 256, 1 << 16, 1 << 21, 1 << 21};
  Handles first;
  gvm_error error;
  const int status = gvm_program_new(bytes.data(), bytes.size(), &limits, &first.program, &error);
  check(status >= 0, std::string("a host failure while loading: ") + error.message);
  check((status == GVM_OK) == (first.program != nullptr), "a handle without success");
  if (status != GVM_OK) {
    check(error.status == status && error.message[0] != '\0', "a refusal without a reason");
    ++refused;
    return;
  }
  ++loaded;
  const Trace scalar = execute(first.program, &first, 0, seed);
  for (int level = 1; level <= gvm_cpu_level(); ++level) {
    Handles other;
    gvm_program_new(bytes.data(), bytes.size(), &limits, &other.program, &error);
    const Trace trace = execute(other.program, &other, level, seed);
    if (trace.bytes == scalar.bytes) continue;
    check(false, "levels disagree, program " + std::to_string(seed));
    std::ofstream("hostile_program.bin", std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
}

// ---- Damage

// A program as a tree, so that a change leaves canonical bytes.
struct Item {
  gvm::CborType type = gvm::CborType::kNull;
  int64_t number = 0;
  std::string key;
  std::vector<Item> items;
};

bool read(gvm::CborReader& reader, Item* item) {
  item->type = reader.peek();
  size_t count = 0;
  switch (item->type) {
    case gvm::CborType::kUnsigned:
    case gvm::CborType::kNegative:
      return reader.read_int(&item->number);
    case gvm::CborType::kNull:
      return reader.read_null();
    case gvm::CborType::kArray:
      if (!reader.read_array(&count)) return false;
      break;
    case gvm::CborType::kMap:
      if (!reader.read_map(&count)) return false;
      break;
    default:
      return false;
  }
  item->items.resize(count);
  for (Item& child : item->items) {
    std::string_view key;
    if (item->type == gvm::CborType::kMap) {
      if (!reader.read_key(&key)) return false;
      child.key = std::string(key);
    }
    if (!read(reader, &child)) return false;
  }
  return true;
}

void write(const Item& item, gvm::CborWriter* writer) {
  switch (item.type) {
    case gvm::CborType::kUnsigned:
    case gvm::CborType::kNegative:
      writer->write_int(item.number);
      return;
    case gvm::CborType::kArray:
      writer->write_array(item.items.size());
      break;
    case gvm::CborType::kMap:
      writer->write_map(item.items.size());
      break;
    default:
      writer->write_null();
      return;
  }
  for (const Item& child : item.items) {
    if (item.type == gvm::CborType::kMap) writer->write_key(child.key);
    write(child, writer);
  }
}

Bytes encode(const Item& item) {
  gvm::CborWriter writer;
  write(item, &writer);
  check(writer.complete(), "a tree that cannot be written");
  return writer.take();
}

void collect(Item* item, std::vector<Item*>* numbers, std::vector<Item*>* lists) {
  if (item->type == gvm::CborType::kUnsigned || item->type == gvm::CborType::kNegative) {
    numbers->push_back(item);
  }
  if (item->type == gvm::CborType::kArray) lists->push_back(item);
  for (Item& child : item->items) collect(&child, numbers, lists);
}

const int64_t kNumbers[] = {-33,
                            -32,
                            -2,
                            -1,
                            0,
                            1,
                            2,
                            3,
                            4,
                            5,
                            6,
                            7,
                            8,
                            9,
                            12,
                            15,
                            16,
                            17,
                            31,
                            32,
                            33,
                            38,
                            46,
                            47,
                            48,
                            63,
                            64,
                            65,
                            127,
                            128,
                            255,
                            4096,
                            4097,
                            16384,
                            32767,
                            65535,
                            65536,
                            1 << 20,
                            1 << 22,
                            INT32_MAX,
                            int64_t{1} << 31,
                            int64_t{1} << 42,
                            int64_t{1} << 62,
                            INT64_MAX,
                            INT64_MIN};

void set(Item* item, int64_t number) {
  item->number = number;
  item->type = number < 0 ? gvm::CborType::kNegative : gvm::CborType::kUnsigned;
}

// One to three changes of numbers or lists.
void damage(Item* program, Random* random) {
  for (uint64_t changes = 1 + random->below(3); changes > 0; --changes) {
    std::vector<Item*> numbers, lists;
    collect(program, &numbers, &lists);
    Item* const number = numbers[random->below(numbers.size())];
    Item* const list = lists[random->below(lists.size())];
    switch (random->below(6)) {
      case 0:
      case 1:
        set(number,
            static_cast<int64_t>(static_cast<uint64_t>(number->number) + random->below(5) - 2));
        break;
      case 2:
        set(number, kNumbers[random->below(std::size(kNumbers))]);
        break;
      case 3:
        set(number, numbers[random->below(numbers.size())]->number);
        break;
      case 4:
        if (!list->items.empty()) {
          const Item copy = list->items[random->below(list->items.size())];
          list->items.insert(
              list->items.begin() + static_cast<long>(random->below(list->items.size() + 1)), copy);
        }
        break;
      default:
        if (!list->items.empty()) {
          list->items.erase(list->items.begin() +
                            static_cast<long>(random->below(list->items.size())));
        }
    }
  }
}

Bytes read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

void test_program(const Bytes& program, uint64_t rounds) {
  put_through(program, 1);
  check(loaded != 0, "the file itself must load");
  for (size_t size = 0; size < program.size(); ++size) {
    put_through(Bytes(program.begin(), program.begin() + static_cast<long>(size)), size);
  }
  for (size_t at = 0; at < program.size(); ++at) {
    for (int change : {0x01, 0x02, 0x04, 0x10, 0x80, 0xff}) {
      Bytes damaged = program;
      damaged[at] = static_cast<uint8_t>(damaged[at] ^ change);
      put_through(damaged, at);
    }
  }
  Random random(program.size());
  for (uint64_t i = 0; i < rounds; ++i) {
    Bytes damaged = program;
    const uint64_t n = 1 + random.below(24), from = random.below(program.size() - n),
                   to = random.below(program.size() - n);
    std::copy(program.begin() + static_cast<long>(from),
              program.begin() + static_cast<long>(from + n),
              damaged.begin() + static_cast<long>(to));
    put_through(damaged, i);
  }
  gvm::CborReader reader(program.data(), program.size());
  Item tree;
  check(read(reader, &tree) && reader.finish() && encode(tree) == program, "a tree of the program");
  for (uint64_t i = 0; i < rounds; ++i) {
    Item damaged = tree;
    damage(&damaged, &random);
    put_through(encode(damaged), i);
  }
}

// Containers: truncated, and with every byte changed, none is a file.
void test_file(const Bytes& file) {
  gvm_file parts;
  parts.struct_size = sizeof parts;
  gvm_error error;
  for (size_t size = 0; size < file.size(); ++size) {
    const Bytes cut(file.begin(), file.begin() + static_cast<long>(size));
    check(gvm_file_parse(cut.data(), cut.size(), &parts, &error) == GVM_BAD_FILE, "truncated");
  }
  for (size_t at = 0; at < file.size(); ++at) {
    for (int change : {0x01, 0x80, 0xff}) {
      Bytes damaged = file;
      damaged[at] = static_cast<uint8_t>(damaged[at] ^ change);
      check(gvm_file_parse(damaged.data(), damaged.size(), &parts, &error) == GVM_BAD_FILE,
            "damaged");
      if (at + GVM_ID_BYTES >= file.size()) continue;
      // With a checksum that holds, so that what is behind it is reached.
      gvm_blake3(damaged.data(), damaged.size() - GVM_ID_BYTES,
                 damaged.data() + damaged.size() - GVM_ID_BYTES);
      if (gvm_file_parse(damaged.data(), damaged.size(), &parts, &error) != GVM_OK) continue;
      for (const auto& [data, size] :
           {std::pair{parts.program, parts.program_size},
            std::pair{parts.parameters, parts.parameters_size},
            std::pair{parts.state, parts.state_size}, std::pair{parts.info, parts.info_size}}) {
        check(size == 0 || (data >= damaged.data() &&
                            data + size <= damaged.data() + damaged.size() - GVM_ID_BYTES),
              "a part lies outside of its file");
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const uint64_t rounds = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1500;
  for (const char* name : {"inference", "trained", "images", "choices"}) {
    const Bytes file = read_file(std::string(argv[1]) + "/programs/" + name + ".dmodel");
    gvm_file parts;
    parts.struct_size = sizeof parts;
    gvm_error error;
    if (gvm_file_parse(file.data(), file.size(), &parts, &error) != GVM_OK) {
      check(false, std::string(name) + ": " + error.message);
      continue;
    }
    test_file(file);
    test_program(Bytes(parts.program, parts.program + parts.program_size), rounds);
  }
  std::printf("hostile_test: %llu refused, %llu loaded, %llu batches executed\n",
              static_cast<unsigned long long>(refused), static_cast<unsigned long long>(loaded),
              static_cast<unsigned long long>(executed));
  check(loaded > rounds / 8,
        "hardly any damaged program loads: the damage is too coarse to test much");
  return failures == 0 ? 0 : 1;
}
