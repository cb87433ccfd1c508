// Types of the values of a program (numerics section 1): element type, format, shape, batch axis,
// and the bound on |q| that the loader has proved.
#pragma once

#include <cstdint>
#include <vector>

namespace gvm {

// Published numbers: they stand in program bytes.
enum class DType : uint8_t { i16 = 1, i32 = 2, i64 = 3, u8 = 4, boolean = 5 };

constexpr int kMaxRank = 8;
constexpr int64_t kBatch = -1;  // a dimension that is the (symbolic) batch
constexpr int kMinFractionBits = -32;
constexpr int kMaxFractionBits = 47;
constexpr uint64_t kMaxBound = uint64_t{1} << 62;       // numerics section 4
constexpr int64_t kMaxElements = int64_t{1} << 42;      // numerics section 3: idx < 2^42
constexpr int64_t kMaxLossExamples = int64_t{1} << 22;  // numerics section 7

inline int dtype_bytes(DType t) {
  switch (t) {
    case DType::i16:
      return 2;
    case DType::i32:
      return 4;
    case DType::i64:
      return 8;
    case DType::u8:
      return 1;
    case DType::boolean:
      return 1;
  }
  return 0;
}

// Bits of the two's complement range of a rounded result (16 or 32).
inline int dtype_bits(DType t) { return 8 * dtype_bytes(t); }

// The largest |q| a type can hold; for i64 the largest a program may prove.
inline uint64_t dtype_bound(DType t) {
  switch (t) {
    case DType::i16:
      return uint64_t{1} << 15;
    case DType::i32:
      return uint64_t{1} << 31;
    case DType::i64:
      return kMaxBound;
    case DType::u8:
      return 255;
    case DType::boolean:
      return 1;
  }
  return 0;
}

inline const char* dtype_name(DType t) {
  switch (t) {
    case DType::i16:
      return "i16";
    case DType::i32:
      return "i32";
    case DType::i64:
      return "i64";
    case DType::u8:
      return "u8";
    case DType::boolean:
      return "bool";
  }
  return "unknown";
}

// A count that is affine in the batch size: fixed + per_example * n. Saturates at 2^62.
struct Count {
  int64_t fixed = 0;
  int64_t per_example = 0;
  int64_t at(int64_t n) const;
};
Count operator+(Count a, Count b);
Count operator*(Count a, int64_t factor);      // factor >= 0
int64_t saturating_mul(int64_t a, int64_t b);  // operands >= 0, result <= 2^62
int64_t saturating_add(int64_t a, int64_t b);
// Adds q to *sum if both and the result are at most `bound` <= kMaxBound in size; else returns
// false.
bool add_within(int64_t* sum, int64_t q, uint64_t bound);

struct Type {
  DType dtype = DType::i16;
  int fraction_bits = 0;
  bool partial = false;  // a sum over this shard's examples only; must pass a reduce
  int rank = 0;
  int64_t dims[kMaxRank] = {};  // kBatch at the batch axis, if any
  uint64_t bound = 0;           // |q| <= bound, proved

  int batch_axis() const {
    for (int i = 0; i < rank; ++i) {
      if (dims[i] == kBatch) return i;
    }
    return -1;
  }
  bool batched() const { return batch_axis() >= 0; }
  // Product of the dimensions without the batch.
  int64_t elements_per_example() const { return product(0, rank); }
  // Product of dims [from, to), the batch counted as 1.
  int64_t product(int from, int to) const;
  Count elements() const;
  bool same_shape(const Type& other) const;
};

// A type whose bound is that of its dtype.
Type make_type(DType dtype, int fraction_bits, const std::vector<int64_t>& dims,
               bool partial = false);

}  // namespace gvm
