// gvm.h against callers that break its contract, and hosts that hand over hostile numbers; argv[1]
// is tests/vectors.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "gvm/gvm.h"

namespace {

using Bytes = std::vector<uint8_t>;

int failures = 0;

void check(bool holds, const char* what, int line) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "abi_test.cc:%d: %s\n", line, what);
}
#define CHECK(condition) check(condition, #condition, __LINE__)

gvm_error error;

// Whether the last error has this status and its message these words.
bool said(int status, const char* words) {
  if (error.status == status && std::strstr(error.message, words) != nullptr) return true;
  std::fprintf(stderr, "  received %d: %s\n", error.status, error.message);
  return false;
}

struct File {
  Bytes bytes;
  gvm_file parts;
};

File read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  File f;
  f.bytes = Bytes(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  f.parts.struct_size = sizeof f.parts;
  CHECK(gvm_file_parse(f.bytes.data(), f.bytes.size(), &f.parts, &error) == GVM_OK);
  return f;
}

// The trained program of tests/hand_written.py: x [B, 2] i16, labels [B] i32, 13 totals of which
// number 3 is the count, two segments, 8 examples at most.
struct Trained {
  File file;
  gvm_program* program = nullptr;
  gvm_session* session = nullptr;
  int16_t x[16] = {};
  int32_t t[8] = {};
  const void* inputs[1] = {x};
  const void* labels[1] = {t};
  int64_t totals[13] = {}, sums[13] = {};

  explicit Trained(const std::string& folder) : file(read_file(folder + "/trained.dmodel")) {
    CHECK(gvm_program_new(file.parts.program, file.parts.program_size, nullptr, &program, &error) ==
          GVM_OK);
    const gvm_options options = {sizeof options, 1, 0};
    CHECK(gvm_session_new(program, &options, &session, &error) == GVM_OK);
    for (int i = 0; i < 16; ++i) x[i] = static_cast<int16_t>(37 * i - 100);
    for (int i = 0; i < 8; ++i) t[i] = i % 3;
  }
  ~Trained() {
    gvm_session_free(session);
    gvm_program_free(program);
  }
  Trained(const Trained&) = delete;
  Trained& operator=(const Trained&) = delete;

  gvm_shard* shard(uint64_t local = 4, uint64_t global = 4) {
    const gvm_batch batch = {sizeof batch, local, 0, global, 1, 2};
    gvm_shard* made = nullptr;
    CHECK(gvm_shard_new(session, &batch, inputs, labels, &made, &error) == GVM_OK);
    return made;
  }
};

void test_nulls(const std::string& folder) {
  Trained m(folder);
  gvm_program* program = m.program;
  CHECK(gvm_program_new(nullptr, 5, nullptr, &program, &error) == GVM_BAD_CALL);
  CHECK(gvm_program_new(nullptr, 0, nullptr, &program, &error) == GVM_BAD_ENCODING);
  CHECK(program == nullptr);
  CHECK(gvm_program_new(m.file.parts.program, 5, nullptr, nullptr, &error) == GVM_BAD_CALL);
  CHECK(gvm_program_new(m.file.parts.program, 5, nullptr, &program, nullptr) == GVM_BAD_ENCODING);
  gvm_program_free(nullptr);
  gvm_session_free(nullptr);
  gvm_shard_free(nullptr);
  gvm_session* session = m.session;
  CHECK(gvm_session_new(nullptr, nullptr, &session, &error) == GVM_BAD_CALL);
  CHECK(gvm_session_new(m.program, nullptr, nullptr, &error) == GVM_BAD_CALL);
  CHECK(gvm_program_get_info(m.program, nullptr) == GVM_BAD_CALL);
  int32_t y[24];
  void* outputs[1] = {y};
  const void* none[1] = {nullptr};
  void* nowhere[1] = {nullptr};
  CHECK(gvm_session_predict(m.session, nullptr, 4, outputs, &error) == GVM_BAD_CALL);
  CHECK(gvm_session_predict(m.session, m.inputs, 4, nullptr, &error) == GVM_BAD_CALL);
  CHECK(gvm_session_predict(m.session, none, 4, outputs, &error) == GVM_BAD_CALL);
  CHECK(said(GVM_BAD_CALL, "input 0: a tensor must be given"));
  CHECK(gvm_session_predict(m.session, m.inputs, 4, nowhere, &error) == GVM_BAD_CALL);
  CHECK(said(GVM_BAD_CALL, "output 0: a tensor must be given"));
  gvm_loss loss = {0, 0, 0};
  CHECK(gvm_session_loss(m.session, m.inputs, none, 4, &loss, &error) == GVM_BAD_CALL);
  CHECK(gvm_session_loss(m.session, m.inputs, m.labels, 4, nullptr, &error) == GVM_BAD_CALL);
  CHECK(gvm_session_write(m.session, GVM_PARAMETERS, nullptr, 128, &error) == GVM_BAD_CALL);
  CHECK(gvm_session_write(m.session, GVM_INPUTS, m.file.bytes.data(), 128, &error) == GVM_BAD_CALL);
  CHECK(gvm_session_apply(m.session, nullptr, 1, 2, &error) == GVM_BAD_CALL);
  CHECK(gvm_session_plan(nullptr, 0, 1, nullptr, 0) == GVM_BAD_CALL);
  CHECK(gvm_file_parse(nullptr, 4, &m.file.parts, &error) == GVM_BAD_CALL);
  gvm_file parts = m.file.parts;
  CHECK(gvm_file_parse(nullptr, 0, &parts, &error) == GVM_BAD_FILE);
}

void test_struct_sizes(const std::string& folder) {
  Trained m(folder);
  gvm_limits limits = {};
  gvm_program* program = nullptr;
  CHECK(gvm_program_new(m.file.parts.program, m.file.parts.program_size, &limits, &program,
                        &error) == GVM_BAD_CALL);
  gvm_options options = {};
  gvm_session* session = nullptr;
  CHECK(gvm_session_new(m.program, &options, &session, &error) == GVM_BAD_CALL);
  gvm_batch batch = {0, 4, 0, 4, 1, 2};
  gvm_shard* shard = nullptr;
  CHECK(gvm_shard_new(m.session, &batch, m.inputs, m.labels, &shard, &error) == GVM_BAD_CALL);
  gvm_program_info info = {};
  CHECK(gvm_program_get_info(m.program, &info) == GVM_BAD_CALL);
  gvm_tensor_info tensor = {};
  CHECK(gvm_program_get_tensor(m.program, GVM_INPUTS, 0, &tensor) == GVM_BAD_CALL);
  gvm_cost cost = {};
  CHECK(gvm_program_get_cost(m.program, GVM_PREDICT, 1, &cost) == GVM_BAD_CALL);
  gvm_file parts = {};
  CHECK(gvm_file_parse(m.file.bytes.data(), m.file.bytes.size(), &parts, &error) == GVM_BAD_CALL);
  CHECK(gvm_file_size(&parts) == 0);
}

void test_numbers_out_of_range(const std::string& folder) {
  Trained m(folder);
  gvm_tensor_info tensor = {};
  tensor.struct_size = sizeof tensor;
  for (int section : {-1, 6, 1000}) {
    CHECK(gvm_program_get_tensor(m.program, section, 0, &tensor) == GVM_BAD_CALL);
  }
  for (int section = 0; section < 6; ++section) {
    CHECK(gvm_program_get_tensor(m.program, section, 99, &tensor) == GVM_BAD_CALL);
    CHECK(gvm_program_get_tensor(m.program, section, UINT32_MAX, &tensor) == GVM_BAD_CALL);
  }
  gvm_cost cost = {};
  cost.struct_size = sizeof cost;
  CHECK(gvm_program_get_cost(m.program, 4, 1, &cost) == GVM_BAD_CALL);
  CHECK(gvm_program_get_cost(m.program, -1, 1, &cost) == GVM_BAD_CALL);
  CHECK(gvm_program_get_cost(m.program, 0, 0, &cost) == GVM_BAD_CALL);
  CHECK(gvm_program_get_cost(m.program, 0, 9, &cost) == GVM_BAD_CALL);
  CHECK(gvm_session_plan(m.session, 4, 1, nullptr, 0) == GVM_BAD_CALL);
  CHECK(gvm_session_plan(m.session, 0, 9, nullptr, 0) == GVM_BAD_CALL);
  int64_t counts[4];
  CHECK(gvm_session_get_clamps(m.session, 0, counts, 3, &error) == GVM_BAD_CALL);
  CHECK(gvm_session_get_clamps(m.session, 7, counts, 4, &error) == GVM_BAD_CALL);
  CHECK(gvm_session_get_clamps(m.session, 0, counts, 4, &error) == GVM_OK);
  const gvm_options far = {sizeof far, 1025, 0};
  gvm_session* session = nullptr;
  CHECK(gvm_session_new(m.program, &far, &session, &error) == GVM_BAD_CALL);
  const gvm_options level = {sizeof level, 1, 99};
  CHECK(gvm_session_new(m.program, &level, &session, &error) == GVM_NO_BACKEND);
  CHECK(session == nullptr);
}

void test_batches(const std::string& folder) {
  Trained m(folder);
  int32_t y[24];
  void* outputs[1] = {y};
  gvm_loss loss = {0, 0, 0};
  // Outputs may lie where inputs do.
  CHECK(gvm_session_predict(m.session, m.inputs, 4, outputs, &error) == GVM_OK);
  alignas(64) int32_t both[24] = {};
  std::memcpy(both, m.x, sizeof m.x);
  const void* within[1] = {both};
  void* over[1] = {both};
  int32_t before[24];
  std::memcpy(before, y, sizeof y);
  std::memset(y, 0x55, sizeof y);
  CHECK(gvm_session_predict(m.session, within, 4, over, &error) == GVM_OK);
  CHECK(std::memcmp(both, before, 4 * 3 * sizeof *y) == 0);
  // What an earlier call was given is no longer the session's to write.
  for (const int32_t v : y) CHECK(v == 0x55555555);
  for (uint64_t n : {uint64_t{0}, uint64_t{9}, UINT64_MAX, uint64_t{1} << 63}) {
    CHECK(gvm_session_predict(m.session, m.inputs, n, outputs, &error) == GVM_BAD_INPUT);
    CHECK(gvm_session_loss(m.session, m.inputs, m.labels, n, &loss, &error) == GVM_BAD_INPUT);
  }
  const uint64_t bad[][4] = {// local, offset, global, step
                             {0, 0, 4, 2},          {5, 0, 4, 2},          {4, 1, 4, 2},
                             {4, UINT64_MAX, 4, 2}, {4, 0, 9, 2},          {4, 0, 0, 2},
                             {4, 0, UINT64_MAX, 2}, {UINT64_MAX, 1, 4, 2}, {4, 0, 4, 1ull << 56}};
  for (const auto& b : bad) {
    const gvm_batch batch = {sizeof batch, b[0], b[1], b[2], 1, b[3]};
    gvm_shard* shard = nullptr;
    CHECK(gvm_shard_new(m.session, &batch, m.inputs, m.labels, &shard, &error) == GVM_BAD_INPUT);
    CHECK(shard == nullptr);
  }
  CHECK(gvm_session_apply(m.session, m.totals, 1, uint64_t{1} << 56, &error) == GVM_BAD_INPUT);
}

void test_labels(const std::string& folder) {
  Trained m(folder);
  for (int32_t label : {-1, 3, INT32_MIN, INT32_MAX}) {
    m.t[2] = label;
    gvm_loss loss = {5, 1, 1};
    CHECK(gvm_session_loss(m.session, m.inputs, m.labels, 4, &loss, &error) == GVM_BAD_INPUT);
    CHECK(said(GVM_BAD_INPUT, "label must be in [0, 3)"));
    CHECK(loss.total == 5 && loss.count == 1 && loss.correct == 1);
    gvm_shard* shard = m.shard();
    CHECK(gvm_shard_run(shard, 0, nullptr, m.sums, &error) == GVM_OK);
    CHECK(gvm_shard_run(shard, 1, m.sums, m.sums, &error) == GVM_BAD_INPUT);
    // What has failed does not go on.
    m.t[2] = 0;
    CHECK(gvm_shard_run(shard, 1, m.sums, m.sums, &error) == GVM_BAD_CALL);
    CHECK(said(GVM_BAD_CALL, "has failed"));
    gvm_shard_free(shard);
    for (int64_t& s : m.sums) s = 0;
  }
}

void test_loss_sums(const std::string& folder) {
  Trained m(folder);
  const int64_t most = int64_t{1} << 62, examples = int64_t{1} << 22;
  const gvm_loss bad[] = {{0, examples - 3, 0}, {0, INT64_MAX, 0}, {0, -1, 0},
                          {most, 0, 0},         {INT64_MAX, 0, 0}, {INT64_MIN, 0, 0},
                          {0, 0, INT64_MAX},    {0, 0, INT64_MIN}};
  for (const gvm_loss& start : bad) {
    gvm_loss loss = start;
    CHECK(gvm_session_loss(m.session, m.inputs, m.labels, 4, &loss, &error) == GVM_BAD_INPUT);
    CHECK(std::memcmp(&loss, &start, sizeof loss) == 0);
  }
  gvm_loss loss = {0, examples - 4, 0};
  CHECK(gvm_session_loss(m.session, m.inputs, m.labels, 4, &loss, &error) == GVM_OK);
  CHECK(loss.count == examples);
}

void test_segments(const std::string& folder) {
  Trained m(folder);
  gvm_shard* shard = m.shard();
  CHECK(gvm_shard_run(shard, 1, m.totals, m.sums, &error) == GVM_BAD_CALL);
  CHECK(gvm_shard_run(shard, UINT32_MAX, m.totals, m.sums, &error) == GVM_BAD_CALL);
  CHECK(gvm_shard_run(shard, 0, nullptr, nullptr, &error) == GVM_BAD_CALL);
  CHECK(gvm_shard_run(shard, 0, nullptr, m.sums, &error) == GVM_OK);
  CHECK(gvm_shard_run(shard, 0, nullptr, m.sums, &error) == GVM_BAD_CALL);
  CHECK(said(GVM_BAD_CALL, "once and in order"));
  CHECK(gvm_shard_run(shard, 1, nullptr, m.sums, &error) == GVM_BAD_CALL);
  CHECK(gvm_shard_run(shard, 1, m.sums, m.sums, &error) == GVM_OK);
  CHECK(gvm_shard_run(shard, 2, m.sums, m.sums, &error) == GVM_BAD_CALL);
  gvm_shard_free(shard);
}

void test_shards_know_their_parameters(const std::string& folder) {
  Trained m(folder);
  gvm_shard *first = m.shard(), *second = m.shard(2, 8);
  CHECK(gvm_shard_run(first, 0, nullptr, m.totals, &error) == GVM_OK);
  CHECK(gvm_shard_run(second, 0, nullptr, m.sums, &error) == GVM_OK);
  CHECK(gvm_shard_run(first, 1, m.totals, m.totals, &error) == GVM_OK);
  CHECK(gvm_session_apply(m.session, m.totals, 1, 2, &error) == GVM_OK);
  CHECK(gvm_shard_run(second, 1, m.totals, m.sums, &error) == GVM_BAD_CALL);
  CHECK(said(GVM_BAD_CALL, "parameters have changed"));
  gvm_shard_free(first);
  gvm_shard_free(second);
}

// Totals come from other machines: what the loader has proved of them is checked.
void test_totals(const std::string& folder) {
  Trained m(folder);
  gvm_program_info info;
  info.struct_size = sizeof info;
  CHECK(gvm_program_get_info(m.program, &info) == GVM_OK && info.totals == 13);
  Bytes before(info.parameter_bytes), after(info.parameter_bytes);
  gvm_session_read(m.session, GVM_PARAMETERS, before.data(), before.size(), &error);
  m.totals[3] = 8;
  CHECK(gvm_session_apply(m.session, m.totals, 1, 2, &error) == GVM_OK);
  for (size_t e = 0; e < 13; ++e) {
    const int64_t kept = m.totals[e];
    for (int64_t q : {INT64_MAX, INT64_MIN, int64_t{1} << 62}) {
      m.totals[e] = q;
      gvm_session_read(m.session, GVM_PARAMETERS, before.data(), before.size(), &error);
      CHECK(gvm_session_apply(m.session, m.totals, 1, 2, &error) == GVM_BAD_INPUT);
      CHECK(said(GVM_BAD_INPUT, "totals: element"));
      gvm_session_read(m.session, GVM_PARAMETERS, after.data(), after.size(), &error);
      CHECK(before == after);
    }
    m.totals[e] = kept;
  }
  m.totals[3] = 9;  // max_batch is 8
  CHECK(gvm_session_apply(m.session, m.totals, 1, 2, &error) == GVM_BAD_INPUT);
  m.totals[3] = 0;  // no examples: nothing moves
  gvm_session_read(m.session, GVM_PARAMETERS, before.data(), before.size(), &error);
  CHECK(gvm_session_apply(m.session, m.totals, 1, 2, &error) == GVM_OK);
  gvm_session_read(m.session, GVM_PARAMETERS, after.data(), after.size(), &error);
  CHECK(before == after);
  // A later segment reads them too; here as a divisor.
  gvm_shard* shard = m.shard();
  CHECK(gvm_shard_run(shard, 0, nullptr, m.sums, &error) == GVM_OK);
  m.totals[3] = 9;
  CHECK(gvm_shard_run(shard, 1, m.totals, m.sums, &error) == GVM_BAD_INPUT);
  // Refused before anything ran, so the shard may go on with the right ones.
  m.totals[3] = 8;
  CHECK(gvm_shard_run(shard, 1, m.totals, m.sums, &error) == GVM_OK);
  gvm_shard_free(shard);
  shard = m.shard();
  CHECK(gvm_shard_run(shard, 0, nullptr, m.sums, &error) == GVM_OK);
  m.totals[3] = 0;
  CHECK(gvm_shard_run(shard, 1, m.totals, m.sums, &error) == GVM_BAD_INPUT);
  CHECK(said(GVM_BAD_INPUT, "count must be at least 1, received 0"));
  gvm_shard_free(shard);
}

void test_sums(const std::string& folder) {
  Trained m(folder);
  for (size_t e = 0; e < 4; ++e) {
    for (int64_t q : {INT64_MAX, INT64_MIN, int64_t{1} << 62, int64_t{8} << 31}) {
      int64_t start[13] = {};
      start[e] = q;
      std::memcpy(m.sums, start, sizeof start);
      gvm_shard* shard = m.shard();
      const int status = gvm_shard_run(shard, 0, nullptr, m.sums, &error);
      // A sum at its bound may take a part of the other sign.
      if (status == GVM_OK) {
        CHECK(e < 3 && q == int64_t{8} << 31 && m.sums[e] <= q);
      } else {
        CHECK(status == GVM_BAD_INPUT && said(GVM_BAD_INPUT, "leaves the bound"));
        CHECK(std::memcmp(m.sums, start, sizeof start) == 0);
      }
      gvm_shard_free(shard);
    }
  }
}

// Shards of every size at once, and frames that come back in any order.
void test_frames(const std::string& folder) {
  Trained m(folder);
  int64_t alone[13] = {};
  for (uint64_t n = 1; n <= 8; ++n) {
    gvm_shard* shards[3] = {m.shard(n, 8), m.shard(9 - n, 8), m.shard(n, 8)};
    int64_t sums[3][13] = {};
    for (uint32_t segment = 0; segment < 2; ++segment) {
      for (int i : {2, 0, 1}) {
        CHECK(gvm_shard_run(shards[i], segment, sums[2], sums[i], &error) == GVM_OK);
      }
    }
    CHECK(std::memcmp(sums[0], sums[2], sizeof sums[0]) == 0);
    if (n == 1) std::memcpy(alone, sums[0], sizeof alone);
    gvm_shard_free(shards[n % 3]);
    gvm_shard_free(shards[(n + 1) % 3]);
    gvm_shard_free(shards[(n + 2) % 3]);
  }
  gvm_shard* last = m.shard(1, 8);
  for (uint32_t segment = 0; segment < 2; ++segment) {
    CHECK(gvm_shard_run(last, segment, m.sums, m.sums, &error) == GVM_OK);
  }
  CHECK(std::memcmp(m.sums, alone, sizeof alone) == 0);
  gvm_shard_free(last);
}

void test_buffers(const std::string& folder) {
  Trained m(folder);
  Bytes buffer(128, 0);
  for (size_t size : {size_t{0}, size_t{127}, size_t{64}}) {
    CHECK(gvm_session_write(m.session, GVM_PARAMETERS, buffer.data(), size, &error) ==
          GVM_BAD_PARAMETERS);
    CHECK(gvm_session_read(m.session, GVM_PARAMETERS, buffer.data(), size, &error) ==
          GVM_BAD_PARAMETERS);
  }
  uint8_t id[GVM_ID_BYTES];
  // 2 * 3 * 4 bytes and 3 * 4 bytes, each followed by zeros.
  for (size_t at = 0; at < buffer.size(); ++at) {
    const bool padding = (at >= 24 && at < 64) || at >= 76;
    buffer[at] = 1;
    const int want = padding ? GVM_BAD_PARAMETERS : GVM_OK;
    CHECK(gvm_session_write(m.session, GVM_PARAMETERS, buffer.data(), 128, &error) == want);
    CHECK(gvm_program_parameters_id(m.program, buffer.data(), 128, id, &error) == want);
    buffer[at] = 0;
  }
  Bytes state(64, 0);
  state[24] = 1;
  CHECK(gvm_session_write(m.session, GVM_STATE, state.data(), 64, &error) == GVM_BAD_PARAMETERS);
  CHECK(said(GVM_BAD_PARAMETERS, "state: padding after tensor 0 must be zero"));
}

void test_bools(const std::string& folder) {
  const File file = read_file(folder + "/images.dmodel");
  gvm_program* program = nullptr;
  gvm_session* session = nullptr;
  CHECK(gvm_program_new(file.parts.program, file.parts.program_size, nullptr, &program, &error) ==
        GVM_OK);
  CHECK(gvm_session_new(program, nullptr, &session, &error) == GVM_OK);
  Bytes parameters(file.parts.parameters, file.parts.parameters + file.parts.parameters_size);
  CHECK(gvm_session_write(session, GVM_PARAMETERS, parameters.data(), parameters.size(), &error) ==
        GVM_OK);
  // Five bools at the start of the last 64 bytes.
  parameters[parameters.size() - 64 + 4] = 2;
  CHECK(gvm_session_write(session, GVM_PARAMETERS, parameters.data(), parameters.size(), &error) ==
        GVM_BAD_PARAMETERS);
  CHECK(said(GVM_BAD_PARAMETERS, "parameters: tensor 3 is bool, received 2"));
  gvm_session_free(session);
  gvm_program_free(program);
  // As an operand of a single node.
  const int64_t values[] = {2, 2};
  const uint32_t offsets[] = {0, 2};
  const gvm_attributes shape = {1, offsets, values};
  gvm_type type = {};
  type.dtype = GVM_BOOL;
  type.rank = 1;
  type.dims[0] = 4;
  uint8_t bytes[4] = {0, 1, 2, 1}, out[4];
  const void* in[1] = {bytes};
  void* to[1] = {out};
  const gvm_batch batch = {sizeof batch, 1, 0, 1, 0, 0};
  CHECK(gvm_operator_run(18, &shape, &type, in, 1, &batch, 0, nullptr, to, nullptr, &error) ==
        GVM_BAD_INPUT);
  CHECK(said(GVM_BAD_INPUT, "a bool must be 0 or 1, received 2"));
  bytes[2] = 0;
  CHECK(gvm_operator_run(18, &shape, &type, in, 1, &batch, 0, nullptr, to, nullptr, &error) ==
        GVM_OK);
  CHECK(std::memcmp(bytes, out, 4) == 0);
}

void test_operators() {
  // relu of [2] i16.
  const gvm_attributes none = {0, nullptr, nullptr};
  gvm_type type = {};
  type.dtype = GVM_I16;
  type.rank = 1;
  type.dims[0] = 2;
  gvm_type out[2];
  uint32_t count = 2;
  const auto infer = [&] {
    count = 2;
    return gvm_operator_infer(12, &none, &type, 1, 4, -1, out, &count, nullptr, &error);
  };
  CHECK(infer() == GVM_OK && count == 1);
  CHECK(gvm_operator_infer(999, &none, &type, 1, 4, -1, out, &count, nullptr, &error) ==
        GVM_UNKNOWN_OPERATOR);
  CHECK(gvm_operator_infer(12, nullptr, &type, 1, 4, -1, out, &count, nullptr, &error) ==
        GVM_BAD_CALL);
  CHECK(gvm_operator_infer(12, &none, nullptr, 1, 4, -1, out, &count, nullptr, &error) ==
        GVM_BAD_CALL);
  CHECK(gvm_operator_infer(12, &none, &type, 1, 0, -1, out, &count, nullptr, &error) ==
        GVM_BAD_CALL);
  count = 0;
  CHECK(gvm_operator_infer(12, &none, &type, 1, 4, -1, out, &count, nullptr, &error) ==
        GVM_BAD_CALL);
  type.bound = 5;  // nobody has proved that
  CHECK(infer() == GVM_UNPROVED_BOUND);
  type.bound = 32768;
  CHECK(infer() == GVM_OK);
  type.reserved[2] = 1;
  CHECK(infer() == GVM_BAD_CALL);
  type.reserved[2] = 0;
  type.partial = 2;
  CHECK(infer() == GVM_BAD_CALL);
  type.partial = 0;
  type.rank = 9;
  CHECK(infer() == GVM_BAD_SHAPE);
  type.rank = 1;
  for (uint8_t dtype : {0, 6, 255}) {
    type.dtype = dtype;
    CHECK(infer() == GVM_BAD_TYPE);
  }
  type.dtype = GVM_I16;
  type.dims[0] = 0;
  CHECK(infer() == GVM_BAD_SHAPE);
  type.dims[0] = INT64_MAX;
  CHECK(infer() == GVM_BAD_SHAPE);
  // Attribute lists that do not add up.
  const int64_t values[] = {1, 8, 0};
  const uint32_t back[] = {0, 2, 1, 3};
  const gvm_attributes wrong = {3, back, values}, missing = {3, nullptr, values};
  type.dims[0] = 2;
  CHECK(gvm_operator_infer(1, &wrong, &type, 1, 4, -1, out, &count, nullptr, &error) ==
        GVM_BAD_CALL);
  CHECK(gvm_operator_infer(1, &missing, &type, 1, 4, -1, out, &count, nullptr, &error) ==
        GVM_BAD_CALL);
  // An i64 that is not what its type says; a site beyond the last.
  gvm_type sum = {};
  sum.dtype = GVM_I64;
  sum.bound = 100;
  const uint32_t offsets[] = {0, 1, 2, 3};
  const gvm_attributes to_i16 = {3, offsets, values};
  int64_t q = 101;
  int16_t y = 0;
  const void* in[1] = {&q};
  void* to[1] = {&y};
  const gvm_batch batch = {sizeof batch, 1, 0, 1, 0, 0};
  const auto run = [&](uint32_t site) {
    return gvm_operator_run(1, &to_i16, &sum, in, 1, &batch, site, nullptr, to, nullptr, &error);
  };
  CHECK(run(0) == GVM_BAD_INPUT);
  q = -100;
  CHECK(run(0) == GVM_OK && y == -25600);
  CHECK(run(1u << 24) == GVM_BAD_INPUT);
  CHECK(run(UINT32_MAX) == GVM_BAD_INPUT);
  to[0] = nullptr;
  CHECK(run(0) == GVM_BAD_CALL);
}

void test_files(const std::string& folder) {
  const File file = read_file(folder + "/trained.dmodel");
  Bytes again(file.bytes.size());
  CHECK(gvm_file_size(&file.parts) == again.size());
  CHECK(gvm_file_write(&file.parts, again.data(), again.size(), &error) == GVM_OK);
  CHECK(again == file.bytes);
  CHECK(gvm_file_write(&file.parts, again.data(), again.size() - 1, &error) == GVM_BAD_CALL);
  gvm_file impossible = file.parts;
  impossible.state_size = UINT64_MAX - 10;
  CHECK(gvm_file_size(&impossible) == 0);
  CHECK(gvm_file_write(&impossible, again.data(), 0, &error) == GVM_BAD_CALL);
  impossible = file.parts;
  impossible.info = nullptr;
  impossible.info_size = 1;
  CHECK(gvm_file_size(&impossible) == 0);
  gvm_file empty = {};
  empty.struct_size = sizeof empty;
  Bytes nothing(gvm_file_size(&empty));
  CHECK(nothing.size() == 96);
  CHECK(gvm_file_write(&empty, nothing.data(), nothing.size(), &error) == GVM_OK);
  CHECK(gvm_file_parse(nothing.data(), nothing.size(), &empty, &error) == GVM_OK);
  CHECK(empty.program_size == 0 && empty.info_size == 0);
}

void test_arithmetic() {
  uint32_t words[4];
  CHECK(gvm_random_words(1, 0, 0, 1, 0, words, 4) == GVM_OK);
  CHECK(gvm_random_words(1, 1u << 24, 0, 1, 0, words, 4) == GVM_BAD_CALL);
  CHECK(gvm_random_words(1, 0, uint64_t{1} << 56, 1, 0, words, 4) == GVM_BAD_CALL);
  CHECK(gvm_random_words(1, 0, 0, 256, 0, words, 4) == GVM_BAD_CALL);
  CHECK(gvm_random_words(1, 0, 0, 1, uint64_t{1} << 42, words, 1) == GVM_BAD_CALL);
  CHECK(gvm_random_words(1, 0, 0, 1, (uint64_t{1} << 42) - 4, words, 4) == GVM_OK);
  // Where an array can be that long.
  if (SIZE_MAX > uint64_t{1} << 42) {
    CHECK(gvm_random_words(1, 0, 0, 1, 1, words, SIZE_MAX) == GVM_BAD_CALL);
  }
  std::vector<int32_t> table(65536);
  CHECK(gvm_unary_table(0, 8, 8, 16, table.data(), nullptr) == GVM_BAD_CALL);
  CHECK(gvm_unary_table(23, 8, 8, 16, table.data(), nullptr) == GVM_BAD_CALL);
  CHECK(gvm_unary_table(3, 48, 8, 16, table.data(), nullptr) == GVM_BAD_CALL);
  CHECK(gvm_unary_table(3, 8, -33, 16, table.data(), nullptr) == GVM_BAD_CALL);
  CHECK(gvm_unary_table(3, 8, 8, 17, table.data(), nullptr) == GVM_BAD_CALL);
  CHECK(gvm_unary_table(3, 8, 8, 16, nullptr, nullptr) == GVM_BAD_CALL);
  CHECK(gvm_operator_name(1) != nullptr && gvm_operator_name(0) == nullptr);
  CHECK(std::strcmp(gvm_status_name(12345), "unknown") == 0);
}

}  // namespace

// A step in one call is what shards and apply make, in turns with them too.
void test_steps(const std::string& folder) {
  Trained m(folder), other(folder);
  gvm_program_info info;
  info.struct_size = sizeof info;
  CHECK(gvm_program_get_info(m.program, &info) == GVM_OK);
  Bytes mine(info.parameter_bytes), theirs(info.parameter_bytes);
  gvm_batch batch = {sizeof batch, 8, 0, 8, 1, 0};
  for (batch.step = 0; batch.step < 6; ++batch.step) {
    for (size_t i = 0; i < 16; ++i) m.x[i] = other.x[i] = static_cast<int16_t>(977 * i * (i + 3));
    for (size_t i = 0; i < 8; ++i) m.t[i] = other.t[i] = static_cast<int32_t>(i % 3);
    gvm_shard* shard = nullptr;
    CHECK(gvm_shard_new(other.session, &batch, other.inputs, other.labels, &shard, &error) ==
          GVM_OK);
    for (int64_t& sum : other.sums) sum = 0;
    for (int64_t& total : other.totals) total = 0;
    CHECK(gvm_shard_run(shard, 0, nullptr, other.sums, &error) == GVM_OK);
    std::memcpy(other.totals, other.sums, sizeof other.sums);
    CHECK(gvm_shard_run(shard, 1, other.totals, other.sums, &error) == GVM_OK);
    gvm_shard_free(shard);
    CHECK(gvm_session_apply(other.session, other.sums, 1, batch.step, &error) == GVM_OK);
    int64_t totals[14] = {};
    totals[13] = 77;
    CHECK(gvm_session_step(m.session, &batch, m.inputs, m.labels, totals, 13, &error) == GVM_OK);
    CHECK(std::memcmp(totals, other.sums, sizeof other.sums) == 0 && totals[13] == 77);
    for (int section : {GVM_PARAMETERS, GVM_STATE}) {
      const size_t bytes = section == GVM_PARAMETERS ? info.parameter_bytes : info.state_bytes;
      mine.resize(bytes), theirs.resize(bytes);
      gvm_session_read(m.session, section, mine.data(), bytes, &error);
      gvm_session_read(other.session, section, theirs.data(), bytes, &error);
      CHECK(mine == theirs);
    }
    std::swap(m.session, other.session);
  }
  batch.step = 0;
  CHECK(gvm_session_step(m.session, &batch, nullptr, m.labels, nullptr, 0, &error) == GVM_BAD_CALL);
  CHECK(gvm_session_step(m.session, &batch, m.inputs, m.labels, nullptr, 1, &error) ==
        GVM_BAD_CALL);
  CHECK(gvm_session_step(m.session, &batch, m.inputs, m.labels, m.totals, 14, &error) ==
        GVM_BAD_CALL);
  CHECK(said(GVM_BAD_CALL, "number of totals"));
  const gvm_batch part = {sizeof part, 4, 4, 8, 1, 0};
  CHECK(gvm_session_step(m.session, &part, m.inputs, m.labels, nullptr, 0, &error) == GVM_BAD_CALL);
  CHECK(said(GVM_BAD_CALL, "whole batch"));
  // A label that is no class: nothing moves, and the next step goes on.
  mine.resize(info.parameter_bytes), theirs.resize(info.parameter_bytes);
  gvm_session_read(m.session, GVM_PARAMETERS, mine.data(), mine.size(), &error);
  m.t[5] = 3;
  CHECK(gvm_session_step(m.session, &batch, m.inputs, m.labels, m.totals, 13, &error) ==
        GVM_BAD_INPUT);
  CHECK(m.totals[0] == 0 && m.totals[3] == 0);
  gvm_session_read(m.session, GVM_PARAMETERS, theirs.data(), theirs.size(), &error);
  CHECK(mine == theirs);
  m.t[5] = 0;
  CHECK(gvm_session_step(m.session, &batch, m.inputs, m.labels, m.totals, 13, &error) == GVM_OK);
  CHECK(m.totals[3] == 8);
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const std::string folder = std::string(argv[1]) + "/programs";
  test_nulls(folder);
  test_struct_sizes(folder);
  test_numbers_out_of_range(folder);
  test_batches(folder);
  test_labels(folder);
  test_loss_sums(folder);
  test_segments(folder);
  test_shards_know_their_parameters(folder);
  test_totals(folder);
  test_sums(folder);
  test_steps(folder);
  test_frames(folder);
  test_buffers(folder);
  test_bools(folder);
  test_operators();
  test_files(folder);
  test_arithmetic();
  return failures == 0 ? 0 : 1;
}
