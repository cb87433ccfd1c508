// gvm.h on top of the C++ library: programs, files and arithmetic. Nothing is decided here:
// arguments are checked for the caller's contract, failures become statuses, and no exception
// leaves.
#include "abi.h"

#include <algorithm>
#include <cstring>

#include "file.h"
#include "hash.h"
#include "random.h"
#include "tables.h"

namespace gvm {

int report(const Error& error, gvm_error* out) {
  if (out != nullptr) {
    out->status = static_cast<int32_t>(error.status);
    std::snprintf(out->message, sizeof out->message, "%s", error.message.c_str());
  }
  return static_cast<int>(error.status);
}

bool require(bool condition, const char* rule, Error* error) {
  return condition || error->fail(Status::bad_call, "%s", rule);
}

gvm_type from_type(const Type& t) {
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

bool read_type(const gvm_type& t, Type* type, Error* error) {
  const bool clear = t.reserved[0] == 0 && t.reserved[1] == 0 && t.reserved[2] == 0 &&
                     t.reserved[3] == 0 && t.partial <= 1;
  if (!require(clear, "gvm_type.partial must be 0 or 1 and gvm_type.reserved 0", error)) {
    return false;
  }
  if (t.dtype < GVM_I16 || t.dtype > GVM_BOOL) {
    return error->fail(Status::bad_type, "element type must be in [1, 5], received %d", t.dtype);
  }
  if (t.fraction_bits < kMinFractionBits || t.fraction_bits > kMaxFractionBits) {
    return error->fail(Status::bad_type, "fraction bits must be in [-32, 47], received %d",
                       t.fraction_bits);
  }
  if (t.rank > kMaxRank)
    return error->fail(Status::bad_shape, "rank must be at most 8, received %d", t.rank);
  if (t.bound > kMaxBound) return error->fail(Status::unproved_bound, "bound must be at most 2^62");
  const DType dtype = static_cast<DType>(t.dtype);
  if (t.dtype != GVM_I64 && t.bound != 0 && t.bound != dtype_bound(dtype)) {
    return error->fail(Status::unproved_bound, "the bound of %s is %llu, received %llu",
                       dtype_name(dtype), static_cast<unsigned long long>(dtype_bound(dtype)),
                       static_cast<unsigned long long>(t.bound));
  }
  int batch_axes = 0;
  int64_t elements = 1;
  for (int i = 0; i < t.rank; ++i) {
    if (t.dims[i] == kBatch) {
      ++batch_axes;
    } else if (t.dims[i] < 1) {
      return error->fail(Status::bad_shape, "dimensions must be -1 or at least 1, received %lld",
                         static_cast<long long>(t.dims[i]));
    } else {
      elements = saturating_mul(elements, t.dims[i]);
    }
  }
  if (elements > kMaxElements) return error->fail(Status::bad_shape, "at most 2^42 elements");
  if (batch_axes > 1)
    return error->fail(Status::bad_batch, "at most one batch axis, received %d", batch_axes);
  *type = make_type(dtype, t.fraction_bits, std::vector<int64_t>(t.dims, t.dims + t.rank),
                    t.partial == 1);
  if (t.bound != 0) type->bound = t.bound;
  return true;
}

bool read_options(const gvm_options* given, Target* target, Error* error) {
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
  target->threads = count != 0 ? static_cast<int>(count) : processors();
  if (requested >= kDeviceLevel) {
    target->device = requested - kDeviceLevel;
    return true;
  }
  return resolve_cpu_level(requested, &target->level, error);
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

// The inputs, or labels, of `batch` examples.
bool check_given(const std::vector<Type>& types, const char* what, const void* const* data,
                 int64_t batch, Error* error) {
  return check_pointers(what, data, types.size(), error) &&
         check_booleans(types, what, data, batch, error);
}

}  // namespace gvm

using gvm::Error;
using gvm::guarded;
using gvm::require;

namespace {

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
    if (values[i] != 0) *targets[i] = std::min(values[i], gvm::kMaxCount);
  }
  return true;
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
    info->type = gvm::from_type(p.totals[index].type);
    info->offset = p.totals[index].offset;
    info->segment = p.totals[index].segment;
    return GVM_OK;
  }
  if (section == GVM_OUTPUTS) {
    const gvm::Function& f = p.functions[gvm::kPredict];
    if (index >= f.outputs.size()) return GVM_BAD_CALL;
    info->type = gvm::from_type(f.values[static_cast<size_t>(f.outputs[index])]);
    return GVM_OK;
  }
  const std::vector<gvm::Type>* types = section_types(p, section);
  if (types == nullptr || index >= types->size()) return GVM_BAD_CALL;
  info->type = gvm::from_type((*types)[index]);
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
    if (!gvm::check_buffer(p.parameters, "parameters", bytes, size, e)) return;
    gvm::Blake3 hash;
    const char domain[] = "gvm.parameters.v1\n";
    hash.update(domain, sizeof domain - 1);
    hash.update(p.parameter_types.data(), p.parameter_types.size());
    hash.update(bytes, size);
    const gvm::Hash h = hash.finalize();
    std::copy(h.begin(), h.end(), id);
  });
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
  if (file == nullptr || file->struct_size != sizeof *file) return 0;
  const gvm::FileParts parts = to_parts(*file);
  for (int i = 0; i < gvm::kFileParts; ++i) {
    if (parts.size[i] > gvm::kMaxPart || (parts.size[i] > 0 && parts.data[i] == nullptr)) return 0;
  }
  return gvm::file_size(parts);
}

int gvm_file_write(const gvm_file* file, uint8_t* bytes, size_t size, gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(file != nullptr && file->struct_size == sizeof *file && bytes != nullptr,
                 "file and bytes must be given", e))
      return;
    if (!require(size > 0 && size == gvm_file_size(file), "size must be gvm_file_size()", e))
      return;
    gvm::write_file(to_parts(*file), bytes);
  });
}

void gvm_blake3(const void* bytes, size_t size, uint8_t id[GVM_ID_BYTES]) {
  const gvm::Hash h = gvm::blake3(bytes, size);
  std::copy(h.begin(), h.end(), id);
}

int gvm_blake3_chunks(const void* bytes, size_t size, uint64_t first, int root, uint8_t* values) {
  if ((bytes == nullptr && size != 0) || values == nullptr) return GVM_BAD_CALL;
  if (root != 0 && (size > 1024 || first != 0)) return GVM_BAD_CALL;
  gvm::blake3_chunks(static_cast<const uint8_t*>(bytes), size, first, root != 0, values);
  return GVM_OK;
}

void gvm_blake3_parent(const uint8_t* left, const uint8_t* right, int root,
                       uint8_t value[GVM_ID_BYTES]) {
  gvm::blake3_parent(left, right, root != 0, value);
}

int gvm_random_words(uint64_t seed, uint32_t site, uint64_t step, uint32_t purpose, uint64_t first,
                     uint32_t* words, size_t count) {
  const uint64_t limit = uint64_t{1} << 42;
  if (words == nullptr || site >= (1u << 24) || step >= gvm::kMaxStep || purpose > 255 ||
      first > limit || count > limit - first) {
    return GVM_BAD_CALL;
  }
  gvm::fill_words(seed, site, step, static_cast<gvm::Purpose>(purpose), first, count, words);
  return GVM_OK;
}

int gvm_unary_table(int function, int in_fraction_bits, int out_fraction_bits, int bits,
                    int32_t* table, uint8_t* clamped) {
  if (table == nullptr) return GVM_BAD_CALL;
  int status = GVM_OK;
  const int guard = guarded(nullptr, [&](Error*) {
    if (!gvm::unary_table(function, in_fraction_bits, out_fraction_bits, bits, table, clamped))
      status = GVM_BAD_CALL;
  });
  return guard != GVM_OK ? guard : status;
}

}  // extern "C"
