// The .dmodel container (docs/program.md): 64-byte header, four parts, BLAKE3 of everything before
// it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "status.h"

namespace gvm {

constexpr int kFileParts = 4;                     // program, parameters, state, info
constexpr uint64_t kMaxPart = uint64_t{1} << 48;  // bytes of a part

struct FileParts {
  const uint8_t* data[kFileParts];
  uint64_t size[kFileParts];
};

bool parse_file(const uint8_t* bytes, uint64_t size, FileParts* parts, Error* error);
uint64_t file_size(const FileParts& parts);
void write_file(const FileParts& parts, uint8_t* bytes);  // file_size bytes

}  // namespace gvm
