#include "file.h"

#include <cstring>

#include "hash.h"

namespace gvm {

namespace {

// magic (8), version (8), the sizes of the four parts (4 * 8), zeros (16). Parts follow at
// multiples of 64.
constexpr uint8_t kMagic[8] = {'D', 'M', 'O', 'D', 'E', 'L', '\r', '\n'};
constexpr uint64_t kVersion = 1;
constexpr uint64_t kHeader = 64;
constexpr uint64_t kPart = 64;

uint64_t padded(uint64_t size) { return (size + kPart - 1) / kPart * kPart; }

uint64_t load_le64(const uint8_t* p) {
  uint64_t v = 0;
  for (int i = 7; i >= 0; --i) v = v << 8 | p[i];
  return v;
}

void store_le64(uint64_t v, uint8_t* p) {
  for (int i = 0; i < 8; ++i) p[i] = static_cast<uint8_t>(v >> (8 * i));
}

bool all_zero(const uint8_t* p, uint64_t n) {
  for (uint64_t i = 0; i < n; ++i) {
    if (p[i] != 0) return false;
  }
  return true;
}

}  // namespace

uint64_t file_size(const FileParts& parts) {
  uint64_t size = kHeader + kHashBytes;
  for (uint64_t part : parts.size) size += padded(part);
  return size;
}

bool parse_file(const uint8_t* bytes, uint64_t size, FileParts* parts, Error* error) {
  if (size < kHeader + kHashBytes || std::memcmp(bytes, kMagic, sizeof kMagic) != 0) {
    return error->fail(Status::bad_file, "not a .dmodel file: %llu bytes without its first line",
                       static_cast<unsigned long long>(size));
  }
  if (load_le64(bytes + 8) != kVersion) {
    return error->fail(Status::bad_file, "the container version must be %llu, received %llu",
                       static_cast<unsigned long long>(kVersion),
                       static_cast<unsigned long long>(load_le64(bytes + 8)));
  }
  uint64_t at = kHeader;
  for (int i = 0; i < kFileParts; ++i) {
    const uint64_t part = load_le64(bytes + 16 + 8 * i);
    if (part > kMaxPart)
      return error->fail(Status::bad_file, "part %d claims more than 2^48 bytes", i);
    parts->size[i] = part;
    parts->data[i] = part > 0 && at + part <= size ? bytes + at : nullptr;
    at += padded(part);
  }
  if (at + kHashBytes != size) {
    return error->fail(
        Status::bad_file, "truncated or oversized: the header promises %llu bytes, received %llu",
        static_cast<unsigned long long>(at + kHashBytes), static_cast<unsigned long long>(size));
  }
  const Hash hash = blake3(bytes, size - kHashBytes);
  if (std::memcmp(hash.data(), bytes + size - kHashBytes, kHashBytes) != 0) {
    return error->fail(Status::bad_file, "damaged: the checksum does not match the contents");
  }
  bool zero = all_zero(bytes + 48, 16);
  at = kHeader;
  for (int i = 0; i < kFileParts; ++i) {
    zero = zero && all_zero(bytes + at + parts->size[i], padded(parts->size[i]) - parts->size[i]);
    at += padded(parts->size[i]);
  }
  if (!zero) return error->fail(Status::bad_file, "padding must be zero");
  return true;
}

void write_file(const FileParts& parts, uint8_t* bytes) {
  const uint64_t size = file_size(parts);
  std::memset(bytes, 0, kHeader);
  std::memcpy(bytes, kMagic, sizeof kMagic);
  store_le64(kVersion, bytes + 8);
  uint64_t at = kHeader;
  for (int i = 0; i < kFileParts; ++i) {
    store_le64(parts.size[i], bytes + 16 + 8 * i);
    if (parts.size[i] > 0) std::memcpy(bytes + at, parts.data[i], parts.size[i]);
    std::memset(bytes + at + parts.size[i], 0, padded(parts.size[i]) - parts.size[i]);
    at += padded(parts.size[i]);
  }
  const Hash hash = blake3(bytes, size - kHashBytes);
  std::memcpy(bytes + size - kHashBytes, hash.data(), kHashBytes);
}

}  // namespace gvm
