// BLAKE3 (hash mode) from its specification; every gvm id and Merkle node is one of these.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace gvm {

constexpr size_t kHashBytes = 32;
using Hash = std::array<uint8_t, kHashBytes>;

// Incremental hasher: any split of the input over update() calls gives the same digest.
// finalize() does not change the state, so hashing may go on after it. Never allocates.
class Blake3 {
 public:
  Blake3() { init(); }

  // Back to the empty input.
  void init();

  // Appends size bytes; data may be null only when size is 0.
  void update(const void* data, size_t size);

  // Writes the first out_size bytes of the extendable output; 32 is the default hash.
  void finalize(uint8_t* out, size_t out_size) const;
  Hash finalize() const;

 private:
  void push_subtree(const uint32_t cv[8], uint64_t subtrees_so_far);

  static constexpr size_t kMaxStack = 54;  // 2^54 chunks of 1024 bytes cover 2^64 bytes.

  uint32_t stack_[kMaxStack][8];  // chaining values of complete subtrees, largest first
  size_t stack_size_;
  uint32_t chunk_cv_[8];  // chaining value of the current chunk's finished blocks
  uint64_t chunk_index_;
  uint32_t chunk_blocks_;  // blocks of the current chunk already compressed
  uint8_t block_[64];
  uint32_t block_size_;
};

// The 32-byte hash of one buffer.
Hash blake3(const void* data, size_t size);

// The tree inside: chaining values (32 bytes each) of the 1024-byte chunks of data, the last of
// which may be shorter; the first is numbered `first`. No bytes are one empty chunk. root: data is
// one chunk and the whole input, whose hash this is.
void blake3_chunks(const uint8_t* data, size_t size, uint64_t first, bool root, uint8_t* cvs);
// The chaining value of two neighbouring subtrees; root: of the whole input, whose hash it is.
void blake3_parent(const uint8_t* left, const uint8_t* right, bool root, uint8_t* cv);

// size hash bytes as 2 * size lower-case hexadecimal digits and a terminating zero.
void to_hex(const uint8_t* bytes, size_t size, char* text);

}  // namespace gvm
