#include "op.h"

#include <cinttypes>
#include <cstring>

namespace gvm {

// The table of operators, three readings of ops.inc: declarations, attributes, rows.
#define GVM_NO_ATTR
#define GVM_ATTR(name, is_list, minimum, maximum, shortest, longest) \
  {#name, is_list, minimum, maximum, shortest, longest},

#define GVM_OP(opcode, name, least, most, outputs, sites, attributes) \
  bool infer_##name(Check& check);
#include "ops.inc"
#undef GVM_OP

namespace {

constexpr uint64_t kUnbounded = UINT64_MAX;  // what bounds saturate at, far above kMaxBound

// Each list ends in a row without a name, so that none is empty.
#define GVM_OP(opcode, name, least, most, outputs, sites, attributes) \
  constexpr AttributeInfo attributes_##name[] = {attributes{nullptr, false, 0, 0, 0, 0}};
#include "ops.inc"
#undef GVM_OP

constexpr OpInfo kOps[] = {
#define GVM_OP(opcode, name, least, most, outputs, sites, attributes)      \
  {opcode,                                                                 \
   #name,                                                                  \
   least,                                                                  \
   most,                                                                   \
   outputs,                                                                \
   sites,                                                                  \
   attributes_##name,                                                      \
   static_cast<int>(sizeof attributes_##name / sizeof(AttributeInfo)) - 1, \
   infer_##name},
#include "ops.inc"
#undef GVM_OP
};
constexpr int kOpCount = static_cast<int>(sizeof kOps / sizeof kOps[0]);

long long number(int64_t v) { return static_cast<long long>(v); }

bool check_arity(Check& check) {
  const OpInfo& op = check.op;
  const int given = static_cast<int>(check.in.size());
  if (given >= op.min_inputs && given <= op.max_inputs) return true;
  if (op.min_inputs == op.max_inputs) {
    return check.fail(Status::bad_graph, "inputs must be %d, received %d", op.min_inputs, given);
  }
  return check.fail(Status::bad_graph, "inputs must be in [%d, %d], received %d", op.min_inputs,
                    op.max_inputs, given);
}

bool check_attributes(Check& check) {
  const OpInfo& op = check.op;
  const size_t given = check.attributes.values.size();
  if (given != static_cast<size_t>(op.attribute_count)) {
    return check.fail(Status::bad_attribute, "attributes must be %d, received %zu",
                      op.attribute_count, given);
  }
  for (int i = 0; i < op.attribute_count; ++i) {
    const AttributeInfo& a = op.attributes[i];
    const std::vector<int64_t>& values = check.list(i);
    if (!a.is_list && values.size() != 1) {
      return check.fail(Status::bad_attribute, "%s must be one integer, received a list of %zu",
                        a.name, values.size());
    }
    if (a.is_list && (values.size() < static_cast<size_t>(a.min_length) ||
                      values.size() > static_cast<size_t>(a.max_length))) {
      return check.fail(Status::bad_attribute, "%s must have a length in [%d, %d], received %zu",
                        a.name, a.min_length, a.max_length, values.size());
    }
    for (const int64_t v : values) {
      if (v < a.minimum || v > a.maximum) {
        return check.fail(Status::bad_attribute, "%s must be in [%lld, %lld], received %lld",
                          a.name, number(a.minimum), number(a.maximum), number(v));
      }
    }
  }
  return true;
}

// What every value must satisfy, whoever made it: numerics sections 1, 3 and 4.
bool check_type(Check& check, const Type& t, const char* role, int i) {
  if (dtype_bytes(t.dtype) == 0) {
    return check.fail(Status::bad_type, "%s %d: element type must be in [1, 5], received %d", role,
                      i, static_cast<int>(t.dtype));
  }
  if (t.fraction_bits < kMinFractionBits || t.fraction_bits > kMaxFractionBits) {
    return check.fail(Status::bad_type, "%s %d: fraction bits must be in [%d, %d], received %d",
                      role, i, kMinFractionBits, kMaxFractionBits, t.fraction_bits);
  }
  if (t.rank < 0 || t.rank > kMaxRank) {
    return check.fail(Status::bad_shape, "%s %d: rank must be in [0, %d], received %d", role, i,
                      kMaxRank, t.rank);
  }
  int batch_axes = 0;
  for (int d = 0; d < t.rank; ++d) {
    if (t.dims[d] == kBatch) {
      ++batch_axes;
    } else if (t.dims[d] < 1) {
      return check.fail(Status::bad_shape, "%s %d: dimension %d must be at least 1, received %lld",
                        role, i, d, number(t.dims[d]));
    }
  }
  if (batch_axes > 1) {
    return check.fail(Status::bad_batch, "%s %d: batch axes must be at most 1, received %d", role,
                      i, batch_axes);
  }
  if (t.partial && (batch_axes != 0 || t.dtype != DType::i64)) {
    return check.fail(Status::bad_batch, "%s %d: a partial sum must be i64 without a batch axis",
                      role, i);
  }
  const int64_t elements = t.elements().at(check.max_batch);
  if (elements > kMaxElements) {
    return check.fail(Status::bad_shape, "%s %d: elements must be at most 2^42, received %lld",
                      role, i, number(elements));
  }
  if (t.bound > dtype_bound(t.dtype)) {
    return check.fail(Status::unproved_bound,
                      "%s %d: magnitude must be at most %" PRIu64 ", it may reach %" PRIu64 "%s",
                      role, i, dtype_bound(t.dtype), t.bound,
                      t.bound == kUnbounded ? " or more" : "");
  }
  return true;
}

}  // namespace

bool AttributeInfo::is_rounding() const {
  const size_t length = std::strlen(name), suffix = std::strlen("rounding");
  return length >= suffix && std::strcmp(name + length - suffix, "rounding") == 0;
}

int OpInfo::attribute(const char* attribute_name) const {
  for (int i = 0; i < attribute_count; ++i) {
    const char* a = attributes[i].name;
    const char* b = attribute_name;
    while (*a != '\0' && *a == *b) ++a, ++b;
    if (*a == *b) return i;
  }
  return -1;
}

const OpInfo* find_op(uint16_t opcode) {
  for (const OpInfo& op : kOps) {
    if (op.opcode == opcode) return &op;
  }
  return nullptr;
}

const OpInfo* all_ops(int* count) {
  *count = kOpCount;
  return kOps;
}

bool Check::fail(Status status, const char* format, ...) {
  char text[384];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (node < 0) return error->fail(status, "%s: %s", op.name, text);
  return error->fail(status, "%s, node %d: %s", op.name, node, text);
}

bool Check::require_dtype(int input, std::initializer_list<DType> accepted) {
  const DType given = in[static_cast<size_t>(input)].dtype;
  char list[48] = "";
  size_t used = 0;
  for (const DType t : accepted) {
    if (t == given) return true;
    const int more = std::snprintf(list + used, sizeof list - used, "%s%s", used == 0 ? "" : ", ",
                                   dtype_name(t));
    used += static_cast<size_t>(more);
    if (used >= sizeof list) break;
  }
  return fail(Status::bad_type, "input %d must be one of %s, received %s", input, list,
              dtype_name(given));
}

bool Check::require_rank(int input, int minimum, int maximum) {
  const int rank = in[static_cast<size_t>(input)].rank;
  if (rank >= minimum && rank <= maximum) return true;
  return fail(Status::bad_shape, "input %d must have a rank in [%d, %d], received %d", input,
              minimum, maximum, rank);
}

bool Check::require_shared(int input) {
  const Type& t = in[static_cast<size_t>(input)];
  if (!t.batched() && !t.partial) return true;
  return fail(Status::bad_batch, "input %d must be shared, received a %s value", input,
              t.partial ? "partial" : "batched");
}

bool Check::require_same_shape(int a, int b) {
  if (in[static_cast<size_t>(a)].same_shape(in[static_cast<size_t>(b)])) return true;
  return fail(Status::bad_shape, "inputs %d and %d must have the same shape", a, b);
}

bool Check::require_not_partial() {
  for (size_t i = 0; i < in.size(); ++i) {
    if (in[i].partial) {
      return fail(Status::bad_batch, "input %zu must not be a partial sum: reduce it first", i);
    }
  }
  return true;
}

bool Check::set_exact(int output, const std::vector<int64_t>& dims, int fraction_bits,
                      uint64_t bound, bool partial) {
  if (dims.size() > static_cast<size_t>(kMaxRank)) {
    return fail(Status::bad_shape, "output %d: rank must be in [0, %d], received %zu", output,
                kMaxRank, dims.size());
  }
  if (fraction_bits < kMinFractionBits || fraction_bits > kMaxFractionBits) {
    return fail(Status::bad_type, "output %d: fraction bits must be in [%d, %d], received %d",
                output, kMinFractionBits, kMaxFractionBits, fraction_bits);
  }
  Type& t = out[static_cast<size_t>(output)];
  t = make_type(DType::i64, fraction_bits, dims, partial);
  t.bound = bound;
  return true;
}

bool Check::set_rounded(int output, const Type& like, int64_t dtype, int64_t fraction_bits) {
  if (dtype != static_cast<int64_t>(DType::i16) && dtype != static_cast<int64_t>(DType::i32)) {
    return fail(Status::bad_attribute, "dtype must be 1 (i16) or 2 (i32), received %lld",
                number(dtype));
  }
  if (fraction_bits < kMinFractionBits || fraction_bits > kMaxFractionBits) {
    return fail(Status::bad_attribute, "fraction_bits must be in [%d, %d], received %lld",
                kMinFractionBits, kMaxFractionBits, number(fraction_bits));
  }
  Type& t = out[static_cast<size_t>(output)];
  t = like;
  t.dtype = static_cast<DType>(dtype);
  t.fraction_bits = static_cast<int>(fraction_bits);
  t.partial = false;
  t.bound = dtype_bound(t.dtype);
  return true;
}

std::vector<int64_t> Check::dims(int input) const {
  const Type& t = in[static_cast<size_t>(input)];
  return std::vector<int64_t>(t.dims, t.dims + t.rank);
}

uint64_t bound_mul(uint64_t a, uint64_t b) {
  if (a == 0 || b == 0) return 0;
  return a > kUnbounded / b ? kUnbounded : a * b;
}

uint64_t bound_add(uint64_t a, uint64_t b) { return a > kUnbounded - b ? kUnbounded : a + b; }

uint64_t bound_shl(uint64_t a, int shift) {
  if (a == 0) return 0;
  return shift >= 64 || a > (kUnbounded >> shift) ? kUnbounded : a << shift;
}

bool infer_node(Check& check) {
  if (check.max_batch < 1 || check.max_batch > kMaxElements) {
    return check.fail(Status::bad_batch, "max_batch must be in [1, 2^42], received %lld",
                      number(check.max_batch));
  }
  if (!check_arity(check) || !check_attributes(check)) return false;
  for (size_t i = 0; i < check.in.size(); ++i) {
    if (!check_type(check, check.in[i], "input", static_cast<int>(i))) return false;
  }
  check.out.assign(static_cast<size_t>(check.op.outputs), Type{});
  check.multiply_adds = Count{};
  if (!check.op.infer(check)) return false;
  for (size_t i = 0; i < check.out.size(); ++i) {
    if (!check_type(check, check.out[i], "output", static_cast<int>(i))) return false;
  }
  return true;
}

}  // namespace gvm
