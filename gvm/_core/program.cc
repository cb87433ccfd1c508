#include "program.h"

#include <cstring>

#include "plan.h"

namespace gvm {

const char* function_name(FunctionKind kind) {
  const char* const names[kFunctions] = {"predict", "loss", "grad", "apply"};
  return names[kind];
}

namespace {

void copy_elements(const uint8_t* from, uint8_t* to, uint64_t elements, int width) {
  const uint16_t probe = 1;
  uint8_t first = 0;
  std::memcpy(&first, &probe, 1);
  if (first == 1 || width == 1) {
    std::memcpy(to, from, elements * static_cast<uint64_t>(width));
    return;
  }
  for (uint64_t e = 0; e < elements; ++e) {
    for (int b = 0; b < width; ++b)
      to[e * static_cast<uint64_t>(width) + static_cast<uint64_t>(b)] =
          from[e * static_cast<uint64_t>(width) + static_cast<uint64_t>(width - 1 - b)];
  }
}

}  // namespace

Cost function_cost(const Function& function, int64_t batch) {
  Cost cost;
  int64_t multiply_adds = 0, bytes_moved = 0;
  for (const Segment& s : function.segments) {
    for (const Node& n : s.nodes) {
      ++cost.nodes;
      multiply_adds = saturating_add(multiply_adds, n.multiply_adds.at(batch));
      for (const std::vector<int>* list : {&n.inputs, &n.outputs}) {
        for (int v : *list) {
          const Type& t = function.values[static_cast<size_t>(v)];
          bytes_moved = saturating_add(
              bytes_moved, saturating_mul(t.elements().at(batch), dtype_bytes(t.dtype)));
        }
      }
    }
  }
  cost.multiply_adds = static_cast<uint64_t>(multiply_adds);
  cost.bytes_moved = static_cast<uint64_t>(bytes_moved);
  cost.peak_bytes = plan_memory(function, batch).arena_bytes;
  return cost;
}

bool check_buffer(const Layout& layout, const char* name, const uint8_t* bytes, size_t size,
                  Error* error) {
  if (size != layout.bytes) {
    return error->fail(Status::bad_parameters, "%s: the buffer must have %llu bytes, received %zu",
                       name, static_cast<unsigned long long>(layout.bytes), size);
  }
  for (size_t i = 0; i < layout.types.size(); ++i) {
    const Type& t = layout.types[i];
    const uint64_t used = static_cast<uint64_t>(t.elements_per_example()) *
                          static_cast<uint64_t>(dtype_bytes(t.dtype));
    const uint64_t end = i + 1 < layout.types.size() ? layout.offsets[i + 1] : layout.bytes;
    for (uint64_t b = layout.offsets[i] + used; b < end; ++b) {
      if (bytes[b] != 0) {
        return error->fail(Status::bad_parameters,
                           "%s: padding after tensor %zu must be zero, received %d at byte %llu",
                           name, i, bytes[b], static_cast<unsigned long long>(b));
      }
    }
    if (t.dtype == DType::boolean) {
      for (uint64_t b = 0; b < used; ++b) {
        if (bytes[layout.offsets[i] + b] > 1) {
          return error->fail(Status::bad_parameters, "%s: tensor %zu is bool, received %d", name, i,
                             bytes[layout.offsets[i] + b]);
        }
      }
    }
  }
  return true;
}

void decode_buffer(const Layout& layout, const uint8_t* bytes, uint8_t* host) {
  if (layout.bytes > 0) std::memset(host, 0, layout.bytes);
  for (size_t i = 0; i < layout.types.size(); ++i) {
    copy_elements(bytes + layout.offsets[i], host + layout.offsets[i],
                  static_cast<uint64_t>(layout.types[i].elements_per_example()),
                  dtype_bytes(layout.types[i].dtype));
  }
}

void encode_buffer(const Layout& layout, const uint8_t* host, uint8_t* bytes) {
  decode_buffer(layout, host, bytes);
}

}  // namespace gvm
