// What hostile programs are put through: whatever loads is executed at tiny sizes on every CPU
// level, and all levels agree. Shared by hostile_test.cc and the fuzz targets.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "gvm/gvm.h"

namespace hostile {

using Bytes = std::vector<uint8_t>;

constexpr uint64_t kMostTensor = 1 << 16;  // elements that the test is willing to fill

inline int failures = 0;
inline uint64_t loaded = 0, executed = 0, refused = 0;

inline void check(bool holds, const std::string& what) {
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

inline uint64_t bytes_of(uint8_t dtype) {
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

inline uint64_t elements_of(const gvm_type& t, uint64_t batch) {
  uint64_t n = 1;
  for (int i = 0; i < t.rank; ++i) {
    const uint64_t d = t.dims[i] == -1 ? batch : static_cast<uint64_t>(t.dims[i]);
    n = d > kMostTensor || n > kMostTensor ? kMostTensor + 1 : n * d;
  }
  return n;
}

// Where the low bytes of a number are on this host.
inline const uint8_t* low_bytes(const int64_t* q, uint64_t count) {
  const uint16_t one = 1;
  const bool big = *reinterpret_cast<const uint8_t*>(&one) == 0;
  return reinterpret_cast<const uint8_t*>(q) + (big ? 8 - count : 0);
}

// Values at the limits, small ones, and anything; labels are often in range.
inline void paint(const gvm_type& t, Random* random, uint8_t* bytes, uint64_t n) {
  const uint64_t kind = random->below(4), each = bytes_of(t.dtype);
  for (uint64_t i = 0; i < n; ++i) {
    int64_t q = static_cast<int64_t>(random->next());
    const int64_t most = t.dtype == GVM_I16 ? INT16_MAX : t.dtype == GVM_I32 ? INT32_MAX : 255;
    if (kind == 0) q = (q & 1) != 0 ? most : -most - 1;
    if (kind >= 2) q &= 255;
    if (t.dtype == GVM_I32 && t.fraction_bits == 0 && kind != 0) q = q & 1;
    if (t.dtype == GVM_BOOL) q &= 1;
    std::memcpy(bytes + i * each, low_bytes(&q, each), each);
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

inline void paint_section(gvm_session* session, const gvm_program* program, int section,
                          uint32_t count, uint64_t bytes, Random* random) {
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

inline void run_training(Handles* h, const gvm_program_info& info, uint64_t batch, Random* random,
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

inline Trace execute(const gvm_program* const program, Handles* h, int level, uint64_t seed) {
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
inline void put_through(const Bytes& bytes, uint64_t seed) {
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

}  // namespace hostile
