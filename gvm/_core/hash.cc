#include "hash.h"

#include <algorithm>
#include <cstring>

namespace gvm {
namespace {

constexpr size_t kBlockBytes = 64;
constexpr size_t kChunkBytes = 1024;
constexpr size_t kBlocksPerChunk = kChunkBytes / kBlockBytes;
constexpr size_t kLanes = 4;  // chunks hashed side by side; a power of two

constexpr uint32_t kChunkStart = 1;
constexpr uint32_t kChunkEnd = 2;
constexpr uint32_t kParent = 4;
constexpr uint32_t kRoot = 8;

constexpr uint32_t kInitial[8] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                                  0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};

// Message word order of each of the seven rounds: the permutation applied 0 to 6 times.
struct Schedule {
  uint8_t word[7][16];
};

constexpr Schedule make_schedule() {
  constexpr uint8_t permutation[16] = {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8};
  Schedule schedule{};
  for (int i = 0; i < 16; ++i) schedule.word[0][i] = static_cast<uint8_t>(i);
  for (int round = 1; round < 7; ++round) {
    for (int i = 0; i < 16; ++i) {
      schedule.word[round][i] = schedule.word[round - 1][permutation[i]];
    }
  }
  return schedule;
}

constexpr Schedule kSchedule = make_schedule();

inline uint32_t load32(const uint8_t* p) {
  return static_cast<uint32_t>(p[0]) | static_cast<uint32_t>(p[1]) << 8 |
         static_cast<uint32_t>(p[2]) << 16 | static_cast<uint32_t>(p[3]) << 24;
}

inline void store32(uint8_t* p, uint32_t v) {
  p[0] = static_cast<uint8_t>(v);
  p[1] = static_cast<uint8_t>(v >> 8);
  p[2] = static_cast<uint8_t>(v >> 16);
  p[3] = static_cast<uint8_t>(v >> 24);
}

// One 32-bit word of `Width` independent compressions.
template <size_t Width>
struct Word {
  uint32_t lane[Width];

  inline Word& operator+=(const Word& other) {
    for (size_t i = 0; i < Width; ++i) lane[i] += other.lane[i];
    return *this;
  }
  template <int Bits>
  inline void xor_rotate(const Word& other) {
    for (size_t i = 0; i < Width; ++i) {
      const uint32_t x = lane[i] ^ other.lane[i];
      lane[i] = x >> Bits | x << (32 - Bits);
    }
  }
};

template <size_t Width>
inline void mix(Word<Width>& a, Word<Width>& b, Word<Width>& c, Word<Width>& d,
                const Word<Width>& x, const Word<Width>& y) {
  a += b;
  a += x;
  d.template xor_rotate<16>(a);
  c += d;
  b.template xor_rotate<12>(c);
  a += b;
  a += y;
  d.template xor_rotate<8>(a);
  c += d;
  b.template xor_rotate<7>(c);
}

template <int Round, size_t Width>
inline void round_of(Word<Width> v[16], const Word<Width> m[16]) {
  constexpr const uint8_t (&s)[16] = kSchedule.word[Round];
  mix(v[0], v[4], v[8], v[12], m[s[0]], m[s[1]]);
  mix(v[1], v[5], v[9], v[13], m[s[2]], m[s[3]]);
  mix(v[2], v[6], v[10], v[14], m[s[4]], m[s[5]]);
  mix(v[3], v[7], v[11], v[15], m[s[6]], m[s[7]]);
  mix(v[0], v[5], v[10], v[15], m[s[8]], m[s[9]]);
  mix(v[1], v[6], v[11], v[12], m[s[10]], m[s[11]]);
  mix(v[2], v[7], v[8], v[13], m[s[12]], m[s[13]]);
  mix(v[3], v[4], v[9], v[14], m[s[14]], m[s[15]]);
}

template <size_t Width>
inline void all_rounds(Word<Width> v[16], const Word<Width> m[16]) {
  round_of<0>(v, m);
  round_of<1>(v, m);
  round_of<2>(v, m);
  round_of<3>(v, m);
  round_of<4>(v, m);
  round_of<5>(v, m);
  round_of<6>(v, m);
}

void load_block(const uint8_t* bytes, uint32_t words[16]) {
  for (size_t i = 0; i < 16; ++i) words[i] = load32(bytes + 4 * i);
}

// The compression function; out receives all 16 words, of which the first 8 are the chaining value.
void compress(const uint32_t cv[8], const uint32_t block[16], uint64_t counter, uint32_t size,
              uint32_t flags, uint32_t out[16]) {
  Word<1> v[16];
  Word<1> m[16];
  for (size_t i = 0; i < 8; ++i) v[i].lane[0] = cv[i];
  for (size_t i = 0; i < 4; ++i) v[8 + i].lane[0] = kInitial[i];
  v[12].lane[0] = static_cast<uint32_t>(counter);
  v[13].lane[0] = static_cast<uint32_t>(counter >> 32);
  v[14].lane[0] = size;
  v[15].lane[0] = flags;
  for (size_t i = 0; i < 16; ++i) m[i].lane[0] = block[i];
  all_rounds<1>(v, m);
  for (size_t i = 0; i < 8; ++i) {
    out[i] = v[i].lane[0] ^ v[i + 8].lane[0];
    out[i + 8] = v[i + 8].lane[0] ^ cv[i];
  }
}

void compress_bytes(uint32_t cv[8], const uint8_t* block, uint64_t counter, uint32_t size,
                    uint32_t flags) {
  uint32_t words[16];
  uint32_t out[16];
  load_block(block, words);
  compress(cv, words, counter, size, flags, out);
  std::copy(out, out + 8, cv);
}

void parent_words(const uint32_t left[8], const uint32_t right[8], uint32_t words[16]) {
  std::copy(left, left + 8, words);
  std::copy(right, right + 8, words + 8);
}

// Merges two sibling subtrees that are not the root; cv may be left or right.
void merge(const uint32_t left[8], const uint32_t right[8], uint32_t cv[8]) {
  uint32_t words[16];
  uint32_t out[16];
  parent_words(left, right, words);
  compress(kInitial, words, 0, kBlockBytes, kParent, out);
  std::copy(out, out + 8, cv);
}

// The chaining values of kLanes whole chunks.
void hash_chunks(const uint8_t* data, uint64_t first_chunk, uint32_t nodes[kLanes][8]) {
  Word<kLanes> h[8];
  for (size_t i = 0; i < 8; ++i) std::fill_n(h[i].lane, kLanes, kInitial[i]);
  for (size_t block = 0; block < kBlocksPerChunk; ++block) {
    Word<kLanes> v[16];
    Word<kLanes> m[16];
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const uint8_t* bytes = data + lane * kChunkBytes + block * kBlockBytes;
      for (size_t i = 0; i < 16; ++i) m[i].lane[lane] = load32(bytes + 4 * i);
      v[12].lane[lane] = static_cast<uint32_t>(first_chunk + lane);
      v[13].lane[lane] = static_cast<uint32_t>((first_chunk + lane) >> 32);
    }
    uint32_t flags = 0;
    if (block == 0) flags |= kChunkStart;
    if (block == kBlocksPerChunk - 1) flags |= kChunkEnd;
    for (size_t i = 0; i < 8; ++i) v[i] = h[i];
    for (size_t i = 0; i < 4; ++i) std::fill_n(v[8 + i].lane, kLanes, kInitial[i]);
    std::fill_n(v[14].lane, kLanes, static_cast<uint32_t>(kBlockBytes));
    std::fill_n(v[15].lane, kLanes, flags);
    all_rounds<kLanes>(v, m);
    for (size_t i = 0; i < 8; ++i) {
      for (size_t lane = 0; lane < kLanes; ++lane) {
        h[i].lane[lane] = v[i].lane[lane] ^ v[i + 8].lane[lane];
      }
    }
  }
  for (size_t lane = 0; lane < kLanes; ++lane) {
    for (size_t i = 0; i < 8; ++i) nodes[lane][i] = h[i].lane[lane];
  }
}

// The chaining value of kLanes whole chunks, the first numbered a multiple of kLanes.
void hash_subtree(const uint8_t* data, uint64_t first_chunk, uint32_t cv[8]) {
  uint32_t nodes[kLanes][8];
  hash_chunks(data, first_chunk, nodes);
  for (size_t count = kLanes / 2; count >= 1; count /= 2) {
    for (size_t i = 0; i < count; ++i) merge(nodes[2 * i], nodes[2 * i + 1], nodes[i]);
  }
  std::copy(nodes[0], nodes[0] + 8, cv);
}

void store_words(const uint32_t words[8], uint8_t bytes[kHashBytes]) {
  for (size_t i = 0; i < 8; ++i) store32(bytes + 4 * i, words[i]);
}

// One chunk of at most kChunkBytes; more_flags is kRoot or 0.
void hash_chunk(const uint8_t* data, size_t size, uint64_t index, uint32_t more_flags,
                uint32_t cv[8]) {
  std::copy(kInitial, kInitial + 8, cv);
  size_t at = 0;
  uint32_t flags = kChunkStart;
  for (; size - at > kBlockBytes; at += kBlockBytes, flags = 0) {
    compress_bytes(cv, data + at, index, kBlockBytes, flags);
  }
  uint8_t last[kBlockBytes] = {};
  if (size != at) std::memcpy(last, data + at, size - at);
  compress_bytes(cv, last, index, static_cast<uint32_t>(size - at), flags | kChunkEnd | more_flags);
}

}  // namespace

void blake3_chunks(const uint8_t* data, size_t size, uint64_t first, bool root, uint8_t* cvs) {
  uint32_t nodes[kLanes][8];
  uint64_t index = first;
  for (; !root && size >= kLanes * kChunkBytes; size -= kLanes * kChunkBytes) {
    hash_chunks(data, index, nodes);
    for (size_t lane = 0; lane < kLanes; ++lane, cvs += kHashBytes) store_words(nodes[lane], cvs);
    index += kLanes;
    data += kLanes * kChunkBytes;
  }
  do {
    const size_t take = std::min(size, kChunkBytes);
    if (take == 0 && index != first) return;
    hash_chunk(data, take, index++, root ? kRoot : 0, nodes[0]);
    store_words(nodes[0], cvs);
    cvs += kHashBytes;
    data += take;
    size -= take;
  } while (size > 0);
}

void blake3_parent(const uint8_t* left, const uint8_t* right, bool root, uint8_t* cv) {
  uint8_t block[kBlockBytes];
  uint32_t words[8];
  std::memcpy(block, left, kHashBytes);
  std::memcpy(block + kHashBytes, right, kHashBytes);
  std::copy(kInitial, kInitial + 8, words);
  compress_bytes(words, block, 0, kBlockBytes, kParent | (root ? kRoot : 0));
  store_words(words, cv);
}

void Blake3::init() {
  stack_size_ = 0;
  std::copy(kInitial, kInitial + 8, chunk_cv_);
  chunk_index_ = 0;
  chunk_blocks_ = 0;
  std::memset(block_, 0, sizeof block_);
  block_size_ = 0;
}

// Adds a complete subtree that is known not to be the whole input; subtrees_so_far counts
// subtrees of this size including it, so its trailing zeros say how many merges are due.
void Blake3::push_subtree(const uint32_t cv[8], uint64_t subtrees_so_far) {
  uint32_t node[8];
  std::copy(cv, cv + 8, node);
  for (; (subtrees_so_far & 1) == 0; subtrees_so_far >>= 1) {
    --stack_size_;
    merge(stack_[stack_size_], node, node);
  }
  std::copy(node, node + 8, stack_[stack_size_]);
  ++stack_size_;
}

void Blake3::update(const void* data, size_t size) {
  const uint8_t* in = static_cast<const uint8_t*>(data);
  while (size > 0) {
    if (block_size_ == kBlockBytes) {
      // More input follows, so this block is not the last one.
      const uint32_t start = chunk_blocks_ == 0 ? kChunkStart : 0;
      if (chunk_blocks_ < kBlocksPerChunk - 1) {
        compress_bytes(chunk_cv_, block_, chunk_index_, kBlockBytes, start);
        ++chunk_blocks_;
      } else {
        compress_bytes(chunk_cv_, block_, chunk_index_, kBlockBytes, start | kChunkEnd);
        ++chunk_index_;
        push_subtree(chunk_cv_, chunk_index_);
        std::copy(kInitial, kInitial + 8, chunk_cv_);
        chunk_blocks_ = 0;
      }
      block_size_ = 0;
    }
    if (block_size_ == 0 && chunk_blocks_ == 0 && chunk_index_ % kLanes == 0) {
      while (size > kLanes * kChunkBytes) {
        uint32_t cv[8];
        hash_subtree(in, chunk_index_, cv);
        chunk_index_ += kLanes;
        push_subtree(cv, chunk_index_ / kLanes);
        in += kLanes * kChunkBytes;
        size -= kLanes * kChunkBytes;
      }
    }
    const size_t take = std::min(size, kBlockBytes - block_size_);
    std::memcpy(block_ + block_size_, in, take);
    block_size_ += static_cast<uint32_t>(take);
    in += take;
    size -= take;
  }
}

void Blake3::finalize(uint8_t* out, size_t out_size) const {
  uint8_t last[kBlockBytes] = {};
  std::memcpy(last, block_, block_size_);
  uint32_t cv[8];
  uint32_t words[16];
  uint32_t full[16];
  std::copy(chunk_cv_, chunk_cv_ + 8, cv);
  load_block(last, words);
  uint64_t counter = chunk_index_;
  uint32_t size = block_size_;
  uint32_t flags = kChunkEnd | (chunk_blocks_ == 0 ? kChunkStart : 0);
  for (size_t i = stack_size_; i > 0; --i) {
    compress(cv, words, counter, size, flags, full);
    parent_words(stack_[i - 1], full, words);
    std::copy(kInitial, kInitial + 8, cv);
    counter = 0;
    size = kBlockBytes;
    flags = kParent;
  }
  for (uint64_t block = 0; out_size > 0; ++block) {
    compress(cv, words, block, size, flags | kRoot, full);
    uint8_t bytes[kBlockBytes];
    for (size_t i = 0; i < 16; ++i) store32(bytes + 4 * i, full[i]);
    const size_t take = std::min(out_size, kBlockBytes);
    std::memcpy(out, bytes, take);
    out += take;
    out_size -= take;
  }
}

Hash Blake3::finalize() const {
  Hash hash;
  finalize(hash.data(), hash.size());
  return hash;
}

Hash blake3(const void* data, size_t size) {
  Blake3 hasher;
  hasher.update(data, size);
  return hasher.finalize();
}

void to_hex(const uint8_t* bytes, size_t size, char* text) {
  static constexpr char kDigits[] = "0123456789abcdef";
  for (size_t i = 0; i < size; ++i) {
    text[2 * i] = kDigits[bytes[i] >> 4];
    text[2 * i + 1] = kDigits[bytes[i] & 15];
  }
  text[2 * size] = '\0';
}

}  // namespace gvm
