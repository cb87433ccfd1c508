// Tables of unary functions (numerics section 6) and of softmax's exponentials (section 7): every
// entry the correctly rounded real value, by integer multi-precision.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace gvm {

// Published numbers: they stand in programs. Append only; gvm/functions.py says what each one is.
enum class UnaryFunction : int {
  exp = 1,
  log = 2,
  tanh = 3,
  logistic = 4,
  erf = 5,
  gelu = 6,
  silu = 7,
  softplus = 8,
  sqrt = 9,
  rsqrt = 10,
  reciprocal = 11,
  sin = 12,
  cos = 13,
  tanh_derivative = 14,
  logistic_derivative = 15,
  erf_derivative = 16,
  gelu_derivative = 17,
  silu_derivative = 18,
  sqrt_derivative = 19,
  rsqrt_derivative = 20,
  reciprocal_derivative = 21,
  negative_sin = 22,
};

constexpr int kUnaryFunctions = 22;
constexpr int kTableEntries = 65536;
constexpr int kMaxTableFractionBits = 63;  // 47, and 16 more for stochastic results

// Fills table[0..65535], indexed by (uint16_t)q, with f(q * 2^-in_bits) at out_bits fraction bits,
// rounded half to even and clamped to `bits` (16 or 32). in_bits in [-32, 47], out_bits in [-32,
// 63]. clamped, when not null, gets 1 where the rounded value lies outside the range, else 0. Poles
// and undefined inputs have the values that gvm/functions.py states. False: an argument is out of
// range.
bool unary_table(int function, int in_bits, int out_bits, int bits, int32_t* table,
                 uint8_t* clamped);

// table[i] = 2^30 * exp(-i * 2^(8 * byte - fraction_bits)), nearest, i < 256; byte 0, 1, 2;
// fraction_bits in [0, 19]. False: an argument is out of range.
bool exponential_table(int fraction_bits, int byte, int32_t* table);

// A table as kernels read it, indexed by (uint16_t)q. While it grows, flags are there.
struct UnaryTable {
  std::vector<int16_t> narrow;   // bits = 16
  std::vector<int32_t> wide;     // bits = 32
  std::vector<uint8_t> clamped;  // empty when no entry clamps
  // Where the inputs that clamp are those <= low and those >= high, as for monotonic functions.
  bool clamps_at_ends = false;
  int low = -32769, high = 32768;
};

class EntryMaker;

// A table whose entries are computed when they are first asked for: never more entries than inputs
// were asked for, so a program pays for its elements alone. Not for concurrent use.
class GrowingTable {
 public:
  GrowingTable(int function, int in_bits, int out_bits, int bits);
  ~GrowingTable();
  GrowingTable(GrowingTable&&) noexcept;

  // With the entries of these inputs; what the others hold is not said. Null: an argument is out
  // of range.
  const UnaryTable* at(const int16_t* inputs, int64_t count);
  const UnaryTable* whole();

 private:
  bool make(int q);

  std::unique_ptr<EntryMaker> maker_;  // null: the table is whole, or refused
  std::vector<uint8_t> known_;
  int64_t asked_ = 0;
  UnaryTable table_;
};

// The three tables of exponential_table for one format.
struct Exponentials {
  int32_t factor[3][256];  // by byte
};
bool make_exponentials(int fraction_bits, Exponentials* tables);

// Tables by function and format, kept. Not for concurrent use. Null: an argument is out of range.
class TableCache {
 public:
  const UnaryTable* unary(int function, int in_bits, int out_bits, int bits);  // the whole table
  // A table that holds the entries of these inputs; a later call may change it.
  const UnaryTable* unary(int function, int in_bits, int out_bits, int bits, const int16_t* inputs,
                          int64_t count);
  const Exponentials* exponentials(int fraction_bits);

 private:
  GrowingTable& growing(int function, int in_bits, int out_bits, int bits);

  std::map<std::vector<int>, GrowingTable> unary_;
  std::map<int, Exponentials> exponentials_;
};

// 2^40 * ln 2, nearest (section 7).
constexpr int64_t kLn2At40 = 762123384786;

}  // namespace gvm
