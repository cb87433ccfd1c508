#include "tables.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "bigint.h"
#include "elementary.h"

namespace gvm {
namespace {

struct Entry {
  int32_t value;
  bool clamped;
};

int64_t limit(int bits) { return int64_t{1} << (bits - 1); }

// The largest or smallest value of the type, as a clamp.
Entry clamp_high(int bits) { return {static_cast<int32_t>(limit(bits) - 1), true}; }
Entry clamp_low(int bits) { return {static_cast<int32_t>(-limit(bits)), true}; }

template <int N>
Entry clamp_to(const Big<N>& v, int bits) {
  const int64_t low = v.low64();
  if (!v.fits64()) return v.negative() ? clamp_low(bits) : clamp_high(bits);
  if (low >= limit(bits)) return clamp_high(bits);
  if (low < -limit(bits)) return clamp_low(bits);
  return {static_cast<int32_t>(low), false};
}

// Whether all reals inside the enclosure round to one entry. Ends are excluded, so a tie at the low
// end rounds up and one at the high end down.
template <int N>
bool round_enclosure(const Enclosure<N>& e, int out_bits, int bits, Entry* entry) {
  const int s = Evaluator<N>::kBits - out_bits;
  const Big<N> half = shift_left(Big<N>::from(1), s - 1);
  const Entry low = clamp_to(shift_right(e.low + half, s), bits);
  const Entry high = clamp_to(-shift_right(half - e.high, s), bits);
  *entry = low;
  return low.value == high.value && low.clamped == high.clamped;
}

// Rounds a transcendental function with as many bits as its value asks for.
class Rounder {
 public:
  explicit Rounder(UnaryFunction function) : function_(function), first_(function) {}

  // False: undecided at 512 bits, which no input of any format is known to need.
  bool round(int64_t q, int in_bits, int out_bits, int bits, Entry* entry) {
    if (round_enclosure(first_.evaluate(q, in_bits), out_bits, bits, entry)) return true;
    if (!second_) second_ = std::make_unique<Evaluator<11>>(function_);
    if (round_enclosure(second_->evaluate(q, in_bits), out_bits, bits, entry)) return true;
    if (!third_) third_ = std::make_unique<Evaluator<19>>(function_);
    return round_enclosure(third_->evaluate(q, in_bits), out_bits, bits, entry);
  }

 private:
  UnaryFunction function_;
  Evaluator<7> first_;
  std::unique_ptr<Evaluator<11>> second_;
  std::unique_ptr<Evaluator<19>> third_;
};

// +-n^power * 2^exponent or, with `root`, the square root of its magnitude, rounded half to even by
// whole numbers: twice the magnitude is found with one bit below the unit and whether more follows.
// n in [1, 2^15], power in [-3, 1].
Entry round_power(bool positive, uint32_t n, int power, int exponent, bool root, int bits) {
  exponent += root ? 2 : 1;
  int length = 0;  // of n
  while ((n >> length) != 0) ++length;
  // The value whose root, or which itself, is twice the magnitude, is at most 2^estimate.
  const int estimate = exponent + (power > 0 ? length : power * (length - 1));
  if (estimate < 0) return {0, false};
  if (estimate > 120) return positive ? clamp_high(bits) : clamp_low(bits);
  using Number = Big<6>;
  const Number whole = Number::from(power > 0 ? n : 1);
  Number value = shift(whole, exponent);
  bool exact = exponent >= 0 || compare(shift_left(value, -exponent), whole) == 0;
  for (int i = power; i < 0; ++i) {
    uint32_t remainder = 0;
    value = divide_small(value, n, &remainder);
    exact = exact && remainder == 0;
  }
  if (root) {
    bool whole_root = false;
    value = square_root(value, &whole_root);
    exact = exact && whole_root;
  }
  const bool half = value.bit(0);
  value = shift_right(value, 1);
  if (half && (!exact || value.bit(0))) value = value + Number::from(1);
  return clamp_to(positive ? value : -value, bits);
}

// f(0) where that is 2^exponent.
Entry round_unit(int exponent, int out_bits, int bits) {
  return round_power(true, 1, -1, out_bits + exponent, false, bits);
}

// The algebraic functions, poles, and rational values at 0; true when the entry is one of these.
bool exact_entry(UnaryFunction function, int64_t q, int in_bits, int out_bits, int bits,
                 Entry* entry) {
  const bool positive = q > 0;
  const uint32_t n = static_cast<uint32_t>(positive ? q : -q);
  const Entry zero = {0, false};
  switch (function) {
    case UnaryFunction::sqrt:
      *entry = positive ? round_power(true, n, 1, 2 * out_bits - in_bits, true, bits) : zero;
      return true;
    case UnaryFunction::rsqrt:
      *entry = positive ? round_power(true, n, -1, 2 * out_bits + in_bits, true, bits)
                        : clamp_high(bits);
      return true;
    case UnaryFunction::reciprocal:
      *entry =
          q != 0 ? round_power(positive, n, -1, out_bits + in_bits, false, bits) : clamp_high(bits);
      return true;
    case UnaryFunction::sqrt_derivative:  // 1/2 x^(-1/2)
      *entry = positive ? round_power(true, n, -1, 2 * out_bits + in_bits - 2, true, bits)
               : q == 0 ? clamp_high(bits)
                        : zero;
      return true;
    case UnaryFunction::rsqrt_derivative:  // -1/2 x^(-3/2)
      *entry = positive ? round_power(false, n, -3, 2 * out_bits + 3 * in_bits - 2, true, bits)
               : q == 0 ? clamp_low(bits)
                        : zero;
      return true;
    case UnaryFunction::reciprocal_derivative:  // -x^-2
      *entry =
          q != 0 ? round_power(false, n, -2, out_bits + 2 * in_bits, false, bits) : clamp_low(bits);
      return true;
    case UnaryFunction::log:
      if (positive && (in_bits < 0 || in_bits > 14 || q != int64_t{1} << in_bits)) return false;
      *entry = positive ? zero : clamp_low(bits);
      return true;
    case UnaryFunction::softplus:
    case UnaryFunction::erf_derivative:
      return false;
    case UnaryFunction::exp:
    case UnaryFunction::cos:
    case UnaryFunction::tanh_derivative:
      *entry = round_unit(0, out_bits, bits);
      return q == 0;
    case UnaryFunction::logistic:
    case UnaryFunction::gelu_derivative:
    case UnaryFunction::silu_derivative:
      *entry = round_unit(-1, out_bits, bits);
      return q == 0;
    case UnaryFunction::logistic_derivative:
      *entry = round_unit(-2, out_bits, bits);
      return q == 0;
    case UnaryFunction::tanh:
    case UnaryFunction::erf:
    case UnaryFunction::gelu:
    case UnaryFunction::silu:
    case UnaryFunction::sin:
    case UnaryFunction::negative_sin:
      *entry = zero;
      return q == 0;
  }
  return false;
}

bool valid(int function, int in_bits, int out_bits, int bits) {
  return function >= 1 && function <= kUnaryFunctions && in_bits >= -32 && in_bits <= 47 &&
         out_bits >= -32 && out_bits <= kMaxTableFractionBits && (bits == 16 || bits == 32);
}

// Where the clamps are, and no flags where there are none.
void describe(UnaryTable* table) {
  const std::vector<uint8_t>& flags = table->clamped;
  const auto clamps = [&](int q) { return flags[static_cast<uint16_t>(q)] != 0; };
  while (table->low + 1 < 32768 && clamps(table->low + 1)) ++table->low;
  while (table->high - 1 > table->low && clamps(table->high - 1)) --table->high;
  const int64_t at_ends = (table->low + 32769) + (32768 - table->high);
  table->clamps_at_ends = at_ends == std::count(flags.begin(), flags.end(), 1);
  if (at_ends == 0 && table->clamps_at_ends) table->clamped = {};
}

}  // namespace

// Computes entries of one function and format; in rising order of inputs is quickest.
class EntryMaker {
 public:
  // The arguments must be valid.
  EntryMaker(int function, int in_bits, int out_bits, int bits)
      : function_(static_cast<UnaryFunction>(function)),
        in_bits_(in_bits),
        out_bits_(out_bits),
        bits_(bits),
        rounder_(function_) {}

  bool make(int q, Entry* entry) {
    *entry = {0, false};
    return exact_entry(function_, q, in_bits_, out_bits_, bits_, entry) ||
           rounder_.round(q, in_bits_, out_bits_, bits_, entry);
  }

 private:
  UnaryFunction function_;
  int in_bits_, out_bits_, bits_;
  Rounder rounder_;
};

bool unary_table(int function, int in_bits, int out_bits, int bits, int32_t* table,
                 uint8_t* clamped) {
  if (!valid(function, in_bits, out_bits, bits)) return false;
  EntryMaker maker(function, in_bits, out_bits, bits);
  for (int q = -32768; q < 32768; ++q) {
    Entry entry = {0, false};
    if (!maker.make(q, &entry)) return false;
    const uint16_t index = static_cast<uint16_t>(q);
    table[index] = entry.value;
    if (clamped != nullptr) clamped[index] = entry.clamped ? 1 : 0;
  }
  return true;
}

GrowingTable::GrowingTable(int function, int in_bits, int out_bits, int bits) {
  if (!valid(function, in_bits, out_bits, bits)) return;
  maker_ = std::make_unique<EntryMaker>(function, in_bits, out_bits, bits);
  known_.assign(kTableEntries, 0);
  table_.clamped.assign(kTableEntries, 0);
  if (bits == 16) {
    table_.narrow.assign(kTableEntries, 0);
  } else {
    table_.wide.assign(kTableEntries, 0);
  }
}

GrowingTable::~GrowingTable() = default;
GrowingTable::GrowingTable(GrowingTable&&) noexcept = default;

bool GrowingTable::make(int q) {
  Entry entry = {0, false};
  if (!maker_->make(q, &entry)) return false;
  const uint16_t index = static_cast<uint16_t>(q);
  if (table_.wide.empty()) {
    table_.narrow[index] = static_cast<int16_t>(entry.value);
  } else {
    table_.wide[index] = entry.value;
  }
  table_.clamped[index] = entry.clamped ? 1 : 0;
  known_[index] = 1;
  return true;
}

const UnaryTable* GrowingTable::whole() {
  if (maker_ != nullptr) {
    for (int q = -32768; q < 32768; ++q) {
      if (known_[static_cast<uint16_t>(q)] == 0 && !make(q)) return nullptr;
    }
    describe(&table_);
    known_ = {};
    maker_ = nullptr;
  }
  return table_.narrow.empty() && table_.wide.empty() ? nullptr : &table_;
}

const UnaryTable* GrowingTable::at(const int16_t* inputs, int64_t count) {
  if (maker_ == nullptr || count >= kTableEntries - asked_) return whole();
  asked_ += count;
  std::vector<int16_t> missing;
  for (int64_t i = 0; i < count; ++i) {
    uint8_t& known = known_[static_cast<uint16_t>(inputs[i])];
    if (known == 0) missing.push_back(inputs[i]);
    known = 1;
  }
  std::sort(missing.begin(), missing.end());
  for (const int16_t q : missing) {
    if (!make(q)) return nullptr;
  }
  return &table_;
}

GrowingTable& TableCache::growing(int function, int in_bits, int out_bits, int bits) {
  const std::vector<int> key = {function, in_bits, out_bits, bits};
  return unary_.try_emplace(key, function, in_bits, out_bits, bits).first->second;
}

const UnaryTable* TableCache::unary(int function, int in_bits, int out_bits, int bits) {
  return growing(function, in_bits, out_bits, bits).whole();
}

const UnaryTable* TableCache::unary(int function, int in_bits, int out_bits, int bits,
                                    const int16_t* inputs, int64_t count) {
  return growing(function, in_bits, out_bits, bits).at(inputs, count);
}

const Exponentials* TableCache::exponentials(int fraction_bits) {
  const auto found = exponentials_.find(fraction_bits);
  if (found != exponentials_.end()) return &found->second;
  Exponentials tables;
  if (!make_exponentials(fraction_bits, &tables)) return nullptr;
  return &exponentials_.emplace(fraction_bits, tables).first->second;
}

bool make_exponentials(int fraction_bits, Exponentials* tables) {
  for (int byte = 0; byte < 3; ++byte) {
    if (!exponential_table(fraction_bits, byte, tables->factor[byte])) return false;
  }
  return true;
}

bool exponential_table(int fraction_bits, int byte, int32_t* table) {
  if (fraction_bits < 0 || fraction_bits > 19 || byte < 0 || byte > 2) return false;
  Rounder rounder(UnaryFunction::exp);
  table[0] = int32_t{1} << 30;
  for (int i = 1; i < 256; ++i) {
    Entry entry = {0, false};
    if (!rounder.round(-i, fraction_bits - 8 * byte, 30, 32, &entry)) return false;
    table[i] = entry.value;
  }
  return true;
}

}  // namespace gvm
