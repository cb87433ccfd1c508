// gvm.h on top of the C++ library. Nothing is decided here: arguments are checked for the caller's
// contract, failures become statuses, and no exception leaves.
#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <thread>

#include "cpu/dispatch.h"
#include "file.h"
#include "gvm/gvm.h"
#include "hash.h"
#include "program.h"
#include "random.h"
#include "session.h"
#include "tables.h"

using gvm::Error;
using gvm::Status;

struct gvm_program {
  std::shared_ptr<const gvm::Program> program;
};

struct gvm_session {
  std::unique_ptr<gvm::Session> session;
};

struct gvm_shard {
  gvm::Shard shard;
};

namespace {

constexpr uint64_t kMaxStep = uint64_t{1} << 56;

int report(const Error& error, gvm_error* out) {
  if (out != nullptr) {
    out->status = static_cast<int32_t>(error.status);
    std::snprintf(out->message, sizeof out->message, "%s", error.message.c_str());
  }
  return static_cast<int>(error.status);
}

// Runs f(Error*), turning what it throws into a status. f returns nothing: the error says it all.
template <typename F>
int guarded(gvm_error* out, F f) {
  Error error;
  try {
    f(&error);
  } catch (const std::bad_alloc&) {
    error = Error();
    error.status = Status::out_of_memory;
    // The message fits the string's own storage: no allocation in a machine that has none left.
    error.message.assign("out of memory", 13);
  } catch (...) {
    error = Error();
    error.fail(Status::internal, "internal error");
  }
  return report(error, out);
}

bool require(bool condition, const char* rule, Error* error) {
  return condition || error->fail(Status::bad_call, "%s", rule);
}

gvm::Type to_type(const gvm_type& t) {
  std::vector<int64_t> dims(t.dims, t.dims + std::min<int>(t.rank, gvm::kMaxRank));
  gvm::Type type =
      gvm::make_type(static_cast<gvm::DType>(t.dtype), t.fraction_bits, dims, t.partial != 0);
  if (t.bound != 0) type.bound = t.bound;
  return type;
}

gvm_type from_type(const gvm::Type& t) {
  gvm_type out;
  std::memset(&out, 0, sizeof out);
  out.dtype = static_cast<uint8_t>(t.dtype);
  out.fraction_bits = static_cast<int8_t>(t.fraction_bits);
  out.partial = t.partial ? 1 : 0;
  out.rank = static_cast<uint8_t>(t.rank);
  std::copy(t.dims, t.dims + t.rank, out.dims);
  out.bound = t.bound;
  return out;
}

// A type given by a caller: element type, format, rank, dimensions and batch axis in range.
bool check_type(const gvm_type& t, Error* error) {
  if (t.dtype < GVM_I16 || t.dtype > GVM_BOOL) {
    return error->fail(Status::bad_type, "element type must be in [1, 5], received %d", t.dtype);
  }
  if (t.fraction_bits < gvm::kMinFractionBits || t.fraction_bits > gvm::kMaxFractionBits) {
    return error->fail(Status::bad_type, "fraction bits must be in [-32, 47], received %d",
                       t.fraction_bits);
  }
  if (t.rank > gvm::kMaxRank)
    return error->fail(Status::bad_shape, "rank must be at most 8, received %d", t.rank);
  if (t.bound > gvm::kMaxBound)
    return error->fail(Status::unproved_bound, "bound must be at most 2^62");
  int batch_axes = 0;
  int64_t elements = 1;
  for (int i = 0; i < t.rank; ++i) {
    if (t.dims[i] == gvm::kBatch) {
      ++batch_axes;
    } else if (t.dims[i] < 1) {
      return error->fail(Status::bad_shape, "dimensions must be -1 or at least 1, received %lld",
                         static_cast<long long>(t.dims[i]));
    } else {
      elements = gvm::saturating_mul(elements, t.dims[i]);
    }
  }
  if (elements > gvm::kMaxElements) return error->fail(Status::bad_shape, "at most 2^42 elements");
  if (batch_axes > 1)
    return error->fail(Status::bad_batch, "at most one batch axis, received %d", batch_axes);
  return true;
}

bool read_limits(const gvm_limits* given, gvm::Limits* limits, Error* error) {
  if (given == nullptr) return true;
  if (!require(given->struct_size == sizeof *given,
               "gvm_limits.struct_size is not that of this library", error)) {
    return false;
  }
  const uint64_t values[] = {given->program_bytes, given->nodes, given->parameter_bytes,
                             given->memory_bytes, given->multiply_adds};
  uint64_t* targets[] = {&limits->program_bytes, &limits->nodes, &limits->parameter_bytes,
                         &limits->memory_bytes, &limits->multiply_adds};
  for (int i = 0; i < 5; ++i) {
    if (values[i] != 0) *targets[i] = values[i];
  }
  return true;
}

bool read_options(const gvm_options* given, gvm::CpuLevel* level, int* threads, Error* error) {
  int requested = -1;
  uint32_t count = 0;
  if (given != nullptr) {
    if (!require(given->struct_size == sizeof *given,
                 "gvm_options.struct_size is not that of this library", error)) {
      return false;
    }
    requested = given->cpu_level;
    count = given->threads;
  }
  if (!require(count <= 1024, "gvm_options.threads must be at most 1024", error)) return false;
  *threads = count != 0 ? static_cast<int>(count)
                        : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return gvm::resolve_cpu_level(requested, level, error);
}

bool check_batch(const gvm_batch& b, uint64_t most, Error* error) {
  if (!require(b.struct_size == sizeof b, "gvm_batch.struct_size is not that of this library",
               error))
    return false;
  if (b.global < 1 || b.global > most) {
    return error->fail(Status::bad_input, "the batch must have 1 to %llu examples, received %llu",
                       static_cast<unsigned long long>(most),
                       static_cast<unsigned long long>(b.global));
  }
  if (b.local < 1 || b.local > b.global || b.offset > b.global - b.local) {
    return error->fail(
        Status::bad_input, "a shard must lie in its batch of %llu, received [%llu, %llu + %llu)",
        static_cast<unsigned long long>(b.global), static_cast<unsigned long long>(b.offset),
        static_cast<unsigned long long>(b.offset), static_cast<unsigned long long>(b.local));
  }
  if (b.step >= kMaxStep) return error->fail(Status::bad_input, "step must be below 2^56");
  return true;
}

bool check_examples(const gvm::Program& p, uint64_t n, Error* error) {
  if (n >= 1 && n <= static_cast<uint64_t>(p.max_batch)) return true;
  return error->fail(Status::bad_input, "the batch must have 1 to %lld examples, received %llu",
                     static_cast<long long>(p.max_batch), static_cast<unsigned long long>(n));
}

const std::vector<gvm::Type>* section_types(const gvm::Program& p, int section) {
  switch (section) {
    case GVM_INPUTS:
      return &p.inputs;
    case GVM_LABELS:
      return &p.labels;
    case GVM_PARAMETERS:
      return &p.parameters.types;
    case GVM_STATE:
      return &p.state.types;
    default:
      return nullptr;
  }
}

bool read_attributes(const gvm_attributes& given, gvm::Attributes* attributes) {
  for (uint32_t i = 0; i < given.count; ++i) {
    attributes->values.emplace_back(given.values + given.offsets[i],
                                    given.values + given.offsets[i + 1]);
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
    if (!check_type(inputs[i], error)) return false;
    in->push_back(to_type(inputs[i]));
  }
  read_attributes(*given, attributes);
  gvm::Check check{
      **op, *attributes, *in, static_cast<int64_t>(max_batch), error, static_cast<int>(node),
      {},   {}};
  if (!gvm::infer_node(check)) return false;
  *out = check.out;
  return true;
}

}  // namespace

extern "C" {

int gvm_abi_version(void) { return GVM_ABI_VERSION; }

const char* gvm_version(void) { return GVM_VERSION; }

const char* gvm_status_name(int status) {
  switch (status) {
    case GVM_OK:
      return "ok";
    case GVM_BAD_ENCODING:
      return "bad_encoding";
    case GVM_UNKNOWN_SEMANTICS:
      return "unknown_semantics";
    case GVM_UNKNOWN_OPERATOR:
      return "unknown_operator";
    case GVM_BAD_ATTRIBUTE:
      return "bad_attribute";
    case GVM_BAD_TYPE:
      return "bad_type";
    case GVM_BAD_SHAPE:
      return "bad_shape";
    case GVM_BAD_BATCH:
      return "bad_batch";
    case GVM_UNPROVED_BOUND:
      return "unproved_bound";
    case GVM_BAD_GRAPH:
      return "bad_graph";
    case GVM_OVER_LIMIT:
      return "over_limit";
    case GVM_BAD_PARAMETERS:
      return "bad_parameters";
    case GVM_BAD_INPUT:
      return "bad_input";
    case GVM_BAD_FILE:
      return "bad_file";
    case GVM_OUT_OF_MEMORY:
      return "out_of_memory";
    case GVM_BAD_CALL:
      return "bad_call";
    case GVM_NO_BACKEND:
      return "no_backend";
    case GVM_INTERNAL:
      return "internal";
    default:
      return "unknown";
  }
}

int gvm_program_new(const uint8_t* bytes, size_t size, const gvm_limits* limits,
                    gvm_program** program, gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(program != nullptr && (bytes != nullptr || size == 0),
                 "bytes and program must be given", e))
      return;
    *program = nullptr;
    gvm::Limits most;
    if (!read_limits(limits, &most, e)) return;
    auto loaded = std::make_shared<gvm::Program>();
    if (!gvm::load_program(bytes, size, most, loaded.get(), e)) return;
    *program = new gvm_program{std::move(loaded)};
  });
}

void gvm_program_free(gvm_program* program) { delete program; }

int gvm_program_get_info(const gvm_program* program, gvm_program_info* info) {
  if (program == nullptr || info == nullptr || info->struct_size != sizeof *info)
    return GVM_BAD_CALL;
  const gvm::Program& p = *program->program;
  std::memset(info, 0, sizeof *info);
  info->struct_size = sizeof *info;
  info->max_batch = static_cast<uint64_t>(p.max_batch);
  info->parameter_bytes = p.parameters.bytes;
  info->state_bytes = p.state.bytes;
  info->totals = p.total_elements;
  info->inputs = static_cast<uint32_t>(p.inputs.size());
  info->labels = static_cast<uint32_t>(p.labels.size());
  info->parameters = static_cast<uint32_t>(p.parameters.types.size());
  info->state = static_cast<uint32_t>(p.state.types.size());
  info->outputs = static_cast<uint32_t>(p.functions[gvm::kPredict].outputs.size());
  info->total_tensors = static_cast<uint32_t>(p.totals.size());
  info->segments = static_cast<uint32_t>(p.functions[gvm::kGrad].segments.size());
  info->loss_outputs = static_cast<uint32_t>(p.functions[gvm::kLoss].outputs.size());
  info->has_apply = p.functions[gvm::kApply].present() ? 1 : 0;
  info->sites = p.sites;
  std::copy(p.graph_id.begin(), p.graph_id.end(), info->graph_id);
  std::copy(p.train_id.begin(), p.train_id.end(), info->train_id);
  return GVM_OK;
}

int gvm_program_get_tensor(const gvm_program* program, int section, uint32_t index,
                           gvm_tensor_info* info) {
  if (program == nullptr || info == nullptr || info->struct_size != sizeof *info)
    return GVM_BAD_CALL;
  const gvm::Program& p = *program->program;
  std::memset(info, 0, sizeof *info);
  info->struct_size = sizeof *info;
  if (section == GVM_TOTALS) {
    if (index >= p.totals.size()) return GVM_BAD_CALL;
    info->type = from_type(p.totals[index].type);
    info->offset = p.totals[index].offset;
    info->segment = p.totals[index].segment;
    return GVM_OK;
  }
  if (section == GVM_OUTPUTS) {
    const gvm::Function& f = p.functions[gvm::kPredict];
    if (index >= f.outputs.size()) return GVM_BAD_CALL;
    info->type = from_type(f.values[static_cast<size_t>(f.outputs[index])]);
    return GVM_OK;
  }
  const std::vector<gvm::Type>* types = section_types(p, section);
  if (types == nullptr || index >= types->size()) return GVM_BAD_CALL;
  info->type = from_type((*types)[index]);
  if (section == GVM_PARAMETERS) info->offset = p.parameters.offsets[index];
  if (section == GVM_STATE) info->offset = p.state.offsets[index];
  return GVM_OK;
}

int gvm_program_get_cost(const gvm_program* program, int function, uint64_t batch, gvm_cost* cost) {
  if (program == nullptr || cost == nullptr || cost->struct_size != sizeof *cost || function < 0 ||
      function >= gvm::kFunctions || batch < 1 ||
      batch > static_cast<uint64_t>(program->program->max_batch)) {
    return GVM_BAD_CALL;
  }
  return guarded(nullptr, [&](Error*) {
    const gvm::Cost c =
        gvm::function_cost(program->program->functions[function], static_cast<int64_t>(batch));
    cost->nodes = c.nodes;
    cost->multiply_adds = c.multiply_adds;
    cost->bytes_moved = c.bytes_moved;
    cost->peak_bytes = c.peak_bytes;
  });
}

int gvm_program_parameters_id(const gvm_program* program, const uint8_t* bytes, size_t size,
                              uint8_t id[GVM_ID_BYTES], gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(program != nullptr && id != nullptr && (bytes != nullptr || size == 0),
                 "arguments must be given", e))
      return;
    const gvm::Program& p = *program->program;
    if (!gvm::check_buffer(p.parameters, bytes, size, e)) return;
    gvm::Blake3 hash;
    const char domain[] = "gvm.parameters.v1\n";
    hash.update(domain, sizeof domain - 1);
    hash.update(p.parameter_types.data(), p.parameter_types.size());
    hash.update(bytes, size);
    const gvm::Hash h = hash.finalize();
    std::copy(h.begin(), h.end(), id);
  });
}

int gvm_cpu_level(void) { return static_cast<int>(gvm::detect_cpu()); }

int gvm_session_new(const gvm_program* program, const gvm_options* options, gvm_session** session,
                    gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(program != nullptr && session != nullptr, "program and session must be given", e))
      return;
    *session = nullptr;
    gvm::CpuLevel level = gvm::CpuLevel::scalar;
    int threads = 1;
    if (!read_options(options, &level, &threads, e)) return;
    auto made = std::make_unique<gvm_session>();
    made->session = std::make_unique<gvm::Session>(program->program, level, threads);
    *session = made.release();
  });
}

void gvm_session_free(gvm_session* session) { delete session; }

int gvm_session_write(gvm_session* session, int section, const uint8_t* bytes, size_t size,
                      gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(session != nullptr && (bytes != nullptr || size == 0),
                 "session and bytes must be given", e))
      return;
    if (!require(section == GVM_PARAMETERS || section == GVM_STATE,
                 "section must be parameters or state", e))
      return;
    session->session->write(section == GVM_STATE, bytes, size, e);
  });
}

int gvm_session_read(const gvm_session* session, int section, uint8_t* bytes, size_t size,
                     gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(session != nullptr && (bytes != nullptr || size == 0),
                 "session and bytes must be given", e))
      return;
    if (!require(section == GVM_PARAMETERS || section == GVM_STATE,
                 "section must be parameters or state", e))
      return;
    session->session->read(section == GVM_STATE, bytes, size, e);
  });
}

int gvm_session_predict(gvm_session* session, const void* const* inputs, uint64_t n,
                        void* const* outputs, gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(session != nullptr && inputs != nullptr && outputs != nullptr,
                 "session, inputs and outputs must be given", e))
      return;
    if (!check_examples(session->session->program(), n, e)) return;
    session->session->predict(inputs, static_cast<int64_t>(n), outputs, e);
  });
}

int gvm_session_loss(gvm_session* session, const void* const* inputs, const void* const* labels,
                     uint64_t n, gvm_loss* loss, gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(session != nullptr && inputs != nullptr && labels != nullptr && loss != nullptr,
                 "session, inputs, labels and loss must be given", e))
      return;
    const gvm::Program& p = session->session->program();
    if (!p.functions[gvm::kLoss].present()) {
      e->fail(Status::bad_call, "the program has no loss");
      return;
    }
    if (!check_examples(p, n, e)) return;
    if (loss->count < 0 || loss->count + static_cast<int64_t>(n) > gvm::kMaxLossExamples) {
      e->fail(Status::bad_input, "a loss sums at most 2^22 examples");
      return;
    }
    int64_t sums[3] = {0, 0, 0};
    if (session->session->loss(inputs, labels, static_cast<int64_t>(n), sums, e) != Status::ok)
      return;
    loss->total += sums[0];
    loss->count += sums[1];
    loss->correct += sums[2];
  });
}

int gvm_shard_new(gvm_session* session, const gvm_batch* batch, const void* const* inputs,
                  const void* const* labels, gvm_shard** shard, gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(session != nullptr && batch != nullptr && inputs != nullptr && labels != nullptr &&
                     shard != nullptr,
                 "session, batch, inputs, labels and shard must be given", e)) {
      return;
    }
    *shard = nullptr;
    const gvm::Program& p = session->session->program();
    if (!p.functions[gvm::kGrad].present()) {
      e->fail(Status::bad_call, "the program has no grad");
      return;
    }
    if (!check_batch(*batch, static_cast<uint64_t>(p.max_batch), e)) return;
    auto made = std::make_unique<gvm_shard>();
    gvm::Shard& s = made->shard;
    s.session = session->session.get();
    s.batch = {static_cast<int64_t>(batch->local), static_cast<int64_t>(batch->offset),
               static_cast<int64_t>(batch->global)};
    s.seed = batch->seed;
    s.step = batch->step;
    s.frame = s.session->take_frame(gvm::kGrad, s.batch.local);
    s.session->bind(gvm::kGrad, s.frame.get(), inputs, labels);
    *shard = made.release();
  });
}

void gvm_shard_free(gvm_shard* shard) {
  if (shard == nullptr) return;
  shard->shard.session->give_frame(gvm::kGrad, std::move(shard->shard.frame));
  delete shard;
}

int gvm_shard_run(gvm_shard* shard, uint32_t segment, const int64_t* totals, int64_t* sums,
                  gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(shard != nullptr && sums != nullptr && (totals != nullptr || segment == 0),
                 "shard, totals and sums must be given", e))
      return;
    gvm::Shard& s = shard->shard;
    if (!require(segment == s.next_segment &&
                     segment < s.session->program().functions[gvm::kGrad].segments.size(),
                 "segments run once and in order", e)) {
      return;
    }
    if (s.session->run_shard(&s, static_cast<int>(segment), totals, sums, e) == Status::ok)
      ++s.next_segment;
  });
}

int gvm_session_apply(gvm_session* session, const int64_t* totals, uint64_t seed, uint64_t step,
                      gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(session != nullptr && totals != nullptr, "session and totals must be given", e))
      return;
    if (!session->session->program().functions[gvm::kApply].present()) {
      e->fail(Status::bad_call, "the program has no apply");
      return;
    }
    if (step >= kMaxStep) {
      e->fail(Status::bad_input, "step must be below 2^56");
      return;
    }
    session->session->apply(totals, seed, step, e);
  });
}

int gvm_session_get_clamps(const gvm_session* session, int function, int64_t* counts, size_t nodes,
                           gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(
            session != nullptr && counts != nullptr && function >= 0 && function < gvm::kFunctions,
            "session, function and counts must be given", e))
      return;
    const std::vector<int64_t>& have =
        session->session->clamps(static_cast<gvm::FunctionKind>(function));
    if (!require(have.size() == nodes, "nodes must be the number of nodes of the function", e))
      return;
    std::copy(have.begin(), have.end(), counts);
  });
}

int64_t gvm_session_plan(gvm_session* session, int function, uint64_t batch, char* text,
                         size_t size) {
  if (session == nullptr || function < 0 || function >= gvm::kFunctions || batch < 1)
    return GVM_BAD_CALL;
  if (!session->session->program().functions[function].present()) return GVM_BAD_CALL;
  if (batch > static_cast<uint64_t>(session->session->program().max_batch)) return GVM_BAD_CALL;
  int64_t length = GVM_INTERNAL;
  const int status = guarded(nullptr, [&](Error*) {
    const std::string plan = session->session->describe_plan(
        static_cast<gvm::FunctionKind>(function), static_cast<int64_t>(batch));
    if (text != nullptr && size > 0) std::snprintf(text, size, "%s", plan.c_str());
    length = static_cast<int64_t>(plan.size());
  });
  return status == GVM_OK ? length : status;
}

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
    for (size_t i = 0; i < out.size(); ++i) outputs[i] = from_type(out[i]);
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
    if (!check_batch(*batch, static_cast<uint64_t>(gvm::kMaxBatchLimit), e)) return;
    gvm::CpuLevel level = gvm::CpuLevel::scalar;
    int threads = 1;
    if (!read_options(options, &level, &threads, e)) return;
    gvm::Attributes a;
    std::vector<gvm::Type> in_types, out_types;
    const gvm::OpInfo* op = nullptr;
    if (!infer_operator(opcode, attributes, input_types, input_count, batch->global, -1, &a,
                        &in_types, &out_types, &op, e))
      return;
    const gvm::Batch where{static_cast<int64_t>(batch->local), static_cast<int64_t>(batch->offset),
                           static_cast<int64_t>(batch->global)};
    std::vector<gvm::Tensor> in(in_types.size()), out(out_types.size());
    for (size_t i = 0; i < in.size(); ++i)
      gvm::set_tensor(&in[i], in_types[i], where.local, const_cast<void*>(inputs[i]));
    for (size_t i = 0; i < out.size(); ++i)
      gvm::set_tensor(&out[i], out_types[i], where.local, outputs[i]);
    gvm::run_operator(*op, a, in, &out, where, batch->seed, batch->step, site, level, threads,
                      clamps, e);
  });
}

const char* gvm_operator_name(uint16_t opcode) {
  const gvm::OpInfo* op = gvm::find_op(opcode);
  return op == nullptr ? nullptr : op->name;
}

static gvm::FileParts to_parts(const gvm_file& f) {
  return {{f.program, f.parameters, f.state, f.info},
          {f.program_size, f.parameters_size, f.state_size, f.info_size}};
}

int gvm_file_parse(const uint8_t* bytes, size_t size, gvm_file* file, gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(
            file != nullptr && file->struct_size == sizeof *file && (bytes != nullptr || size == 0),
            "bytes and file must be given", e))
      return;
    gvm::FileParts parts;
    if (!gvm::parse_file(bytes, size, &parts, e)) return;
    *file = gvm_file{sizeof *file,  parts.data[0], parts.size[0], parts.data[1], parts.size[1],
                     parts.data[2], parts.size[2], parts.data[3], parts.size[3]};
  });
}

uint64_t gvm_file_size(const gvm_file* file) {
  return file == nullptr || file->struct_size != sizeof *file ? 0 : gvm::file_size(to_parts(*file));
}

int gvm_file_write(const gvm_file* file, uint8_t* bytes, size_t size, gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(file != nullptr && file->struct_size == sizeof *file && bytes != nullptr,
                 "file and bytes must be given", e))
      return;
    if (!require(size == gvm_file_size(file), "size must be gvm_file_size()", e)) return;
    gvm::write_file(to_parts(*file), bytes);
  });
}

void gvm_blake3(const void* bytes, size_t size, uint8_t id[GVM_ID_BYTES]) {
  const gvm::Hash h = gvm::blake3(bytes, size);
  std::copy(h.begin(), h.end(), id);
}

int gvm_random_words(uint64_t seed, uint32_t site, uint64_t step, uint32_t purpose, uint64_t first,
                     uint32_t* words, size_t count) {
  const uint64_t limit = uint64_t{1} << 42;
  if (words == nullptr || site >= (1u << 24) || step >= kMaxStep || purpose > 255 ||
      first > limit || count > limit - first) {
    return GVM_BAD_CALL;
  }
  gvm::fill_words(seed, site, step, static_cast<gvm::Purpose>(purpose), first, count, words);
  return GVM_OK;
}

int gvm_unary_table(int function, int in_fraction_bits, int out_fraction_bits, int bits,
                    int32_t* table, uint8_t* clamped) {
  if (table == nullptr || (bits != 16 && bits != 32) || in_fraction_bits < gvm::kMinFractionBits ||
      in_fraction_bits > gvm::kMaxFractionBits) {
    return GVM_BAD_CALL;
  }
  int status = GVM_OK;
  const int guard = guarded(nullptr, [&](Error*) {
    if (!gvm::unary_table(function, in_fraction_bits, out_fraction_bits, bits, table, clamped))
      status = GVM_BAD_CALL;
  });
  return guard != GVM_OK ? guard : status;
}

}  // extern "C"
