// The tables of unary functions: values worked by hand, laws of the functions, agreement of three
// precisions, and stored digests of whole tables; argv[1] is tests/vectors.
#include "tables.h"

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "elementary.h"
#include "hash.h"

namespace {

using gvm::Big;
using gvm::UnaryFunction;

int failures = 0;

void check(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "tables_test: %s\n", what.c_str());
}

struct Table {
  std::vector<int32_t> values = std::vector<int32_t>(gvm::kTableEntries);
  std::vector<uint8_t> clamped = std::vector<uint8_t>(gvm::kTableEntries);

  Table(UnaryFunction function, int in_bits, int out_bits, int bits) {
    check(gvm::unary_table(static_cast<int>(function), in_bits, out_bits, bits, values.data(),
                           clamped.data()),
          "a table is refused");
  }
  int32_t at(int q) const { return values[static_cast<uint16_t>(q)]; }
  bool clamps(int q) const { return clamped[static_cast<uint16_t>(q)] != 0; }
};

void expect(UnaryFunction function, int in_bits, int out_bits, int bits, int q, int64_t value,
            bool clamped) {
  const Table table(function, in_bits, out_bits, bits);
  if (table.at(q) == value && table.clamps(q) == clamped) return;
  check(false, "function " + std::to_string(static_cast<int>(function)) + " of " +
                   std::to_string(q) + " is " + std::to_string(table.at(q)) + ", expected " +
                   std::to_string(value));
}

// Digits of e, pi and the like, from any handbook.
void run_values() {
  using F = UnaryFunction;
  expect(F::exp, 0, 28, 32, 1, 729683222, false);  // 2.718281828459 * 2^28
  expect(F::exp, 0, 0, 16, 10, 22026, false);      // 22026.4658
  expect(F::exp, 0, 0, 16, 11, 32767, true);       // 59874.14
  expect(F::exp, 12, 12, 16, 0, 4096, false);
  expect(F::exp, -32, -32, 16, 32767, 32767, true);
  expect(F::exp, -32, 15, 16, -1, 0, false);
  expect(F::log, 0, 28, 32, 2, 186065279, false);  // 0.693147180560 * 2^28
  expect(F::log, 8, 8, 16, 256, 0, false);
  expect(F::log, 8, 8, 16, 0, -32768, true);
  expect(F::log, 8, 8, 16, -5, -32768, true);
  expect(F::tanh, 0, 15, 16, 1, 24956, false);  // 0.761594156 * 2^15
  expect(F::tanh, 0, 15, 16, 20, 32767, true);  // rounds to 1
  expect(F::tanh, 0, -1, 16, 20, 0, false);     // just below half a unit
  expect(F::logistic, 12, 15, 16, 0, 16384, false);
  expect(F::logistic, 0, 0, 16, 0, 0, false);       // 1/2: a tie, to even
  expect(F::logistic, 12, 0, 16, 1, 1, false);      // just above it
  expect(F::erf, 0, 30, 32, 1, 904843087, false);   // 0.842700792950 * 2^30
  expect(F::gelu, 0, 28, 32, 1, 225846761, false);  // 0.841344746069 * 2^28
  expect(F::gelu, 0, -1, 16, 101, 50, false);       // 101 - tiny: below the tie 50.5
  expect(F::silu, 0, -1, 16, 101, 50, false);
  expect(F::silu, 0, -1, 16, 103, 51, false);           // to even would be 52
  expect(F::softplus, 0, -1, 16, 101, 51, false);       // 101 + tiny: to even would be 50
  expect(F::softplus, 0, 28, 32, 0, 186065279, false);  // ln 2
  expect(F::sqrt, 0, 28, 32, 2, 379625062, false);      // 1.414213562373 * 2^28
  expect(F::sqrt, 2, 0, 16, 9, 2, false);               // 1.5: a tie, to even
  expect(F::sqrt, 2, 0, 16, 25, 2, false);              // 2.5
  expect(F::sqrt, 2, 0, 16, -9, 0, false);
  expect(F::rsqrt, 2, 0, 16, 1, 2, false);
  expect(F::rsqrt, 0, 28, 32, 2, 189812531, false);  // 0.707106781187 * 2^28
  expect(F::rsqrt, 2, 0, 16, 0, 32767, true);
  expect(F::reciprocal, 0, 0, 16, 2, 0, false);  // 1/2
  expect(F::reciprocal, 1, 0, 16, -1, -2, false);
  expect(F::reciprocal, 0, 15, 16, -1, -32768, false);  // -1 fits, 1 does not
  expect(F::reciprocal, 0, 15, 16, 1, 32767, true);
  expect(F::sin, 0, 28, 32, 1, 225880648, false);  // 0.841470984808 * 2^28
  expect(F::cos, 0, 28, 32, 1, 145036296, false);  // 0.540302305868 * 2^28
  expect(F::negative_sin, 0, 28, 32, 1, -225880648, false);
  expect(F::sin, 47, 47, 16, 12345, 12345, false);
  expect(F::cos, 47, 15, 16, 1, 32767, true);
  expect(F::tanh_derivative, 12, 0, 16, 0, 1, false);
  expect(F::logistic_derivative, 12, 2, 16, 0, 1, false);
  expect(F::erf_derivative, 12, 28, 32, 0, 302896976, false);  // 1.128379167096 * 2^28
  expect(F::gelu_derivative, 12, 1, 16, 0, 1, false);
  expect(F::gelu_derivative, 0, -1, 16, 30, 1, false);  // just above half a unit
  expect(F::silu_derivative, 0, -1, 16, 100, 1, false);
  expect(F::silu_derivative, 0, -1, 16, -100, 0, false);
  expect(F::sqrt_derivative, 0, 2, 16, 4, 1, false);  // 1/4
  expect(F::sqrt_derivative, 0, 2, 16, 0, 32767, true);
  expect(F::sqrt_derivative, 0, 2, 16, -1, 0, false);
  expect(F::rsqrt_derivative, 0, 4, 16, 4, -1, false);  // -1/16
  expect(F::rsqrt_derivative, 0, 4, 16, 0, -32768, true);
  expect(F::reciprocal_derivative, 0, 4, 16, -4, -1, false);
  expect(F::reciprocal_derivative, 0, 4, 16, 0, -32768, true);
}

void run_laws() {
  using F = UnaryFunction;
  for (const F odd : {F::tanh, F::erf, F::sin, F::negative_sin}) {
    const Table table(odd, 11, 30, 32);
    for (int q = 1; q < 32768; ++q) check(table.at(q) == -table.at(-q), "an odd function is not");
  }
  for (const F even : {F::cos, F::tanh_derivative, F::logistic_derivative, F::erf_derivative}) {
    const Table table(even, 11, 29, 32);
    for (int q = 1; q < 32768; ++q) check(table.at(q) == table.at(-q), "an even function is not");
  }
  for (const F rising : {F::exp, F::log, F::tanh, F::logistic, F::erf, F::softplus, F::sqrt}) {
    const Table table(rising, 11, 24, 32);
    for (int q = -32767; q < 32768; ++q) check(table.at(q - 1) <= table.at(q), "a table falls");
  }
  // 16 more bits, rounded once more, lie within a unit's 2^-17 of the direct table.
  for (int f = 1; f <= gvm::kUnaryFunctions; ++f) {
    const Table narrow(static_cast<F>(f), 12, 10, 16), wide(static_cast<F>(f), 12, 26, 32);
    for (int q = -32768; q < 32768; ++q) {
      if (narrow.clamps(q) || wide.clamps(q)) continue;
      const int64_t distance = wide.at(q) - static_cast<int64_t>(narrow.at(q)) * 65536;
      check(distance >= -32769 && distance <= 32769, "two widths disagree");
    }
  }
  for (const UnaryFunction pole : {F::log, F::rsqrt, F::reciprocal}) {
    check(Table(pole, 12, 26, 32).clamps(0), "a pole does not clamp");
  }
}

template <int Narrow, int More>
void run_precisions() {
  for (int f = 1; f <= gvm::kUnaryFunctions; ++f) {
    const UnaryFunction function = static_cast<UnaryFunction>(f);
    if (f >= 9 && f <= 11) continue;  // algebraic
    if (f >= 19 && f <= 21) continue;
    gvm::Evaluator<Narrow> narrow(function);
    gvm::Evaluator<Narrow + More> wide(function);
    const int extra = 32 * More;
    for (const int scale : {-32, -7, -1, 0, 3, 5, 6, 7, 8, 11, 15, 16, 30, 47}) {
      for (int q = -32768; q < 32768; q += q < 300 && q > -300 ? 37 : 1009) {
        if (q == 0 || (function == UnaryFunction::log && q < 0)) continue;
        const gvm::Enclosure<Narrow> a = narrow.evaluate(q, scale);
        const gvm::Enclosure<Narrow + More> b = wide.evaluate(q, scale);
        // The wide enclosure's ends, rounded outwards, in the narrow one's units.
        Big<Narrow> low, high;
        const Big<Narrow + More> l = shift_right(b.low, extra), h = -shift_right(-b.high, extra);
        for (int i = 0; i < Narrow; ++i) {
          low.limb[i] = l.limb[i];
          high.limb[i] = h.limb[i];
        }
        const std::string where = "function " + std::to_string(f) + " of " + std::to_string(q) +
                                  " * 2^-" + std::to_string(scale);
        check(compare(a.low, a.high) < 0, "empty enclosure: " + where);
        // Wide's interval lies inside narrow's, but for the rounding of its ends.
        check(compare(a.low, high) < 0 && compare(low, a.high) < 0, "disjoint: " + where);
        const Big<Narrow> slack = Big<Narrow>::from(2);
        check(compare(a.low - slack, low) <= 0 && compare(high, a.high + slack) <= 0,
              "not nested: " + where);
      }
    }
  }
}

void run_big() {
  using B = Big<4>;
  const B a = shift_left(B::from(0x123456789abcdef), 37);
  check(compare(shift_right(a, 37), B::from(0x123456789abcdef)) == 0, "shifts");
  check(shift_right(B::from(-5), 1).low64() == -3, "right shift floors");
  check(divide_small(B::from(-7), 2).low64() == -3, "divide_small truncates");
  check(multiply_small(B::from(-7), 6).low64() == -42, "multiply_small of a negative");
  check((B::from(1) - B::from(2)).low64() == -1 && (-B::from(1)).negative(), "signs");
  check(multiply_shifted(B::from(-6), B::from(7), 0).low64() == -42, "product");
  check(multiply_shifted(shift_left(B::from(3), 60), shift_left(B::from(5), 4), 2).low64() == 15,
        "shifted product");
  check(a.bit_length() == 94 && B::from(0).bit_length() == 0, "bit length");
  B rest;
  const B q = divide(a, B::from(1000000007), &rest);
  const B back = multiply_shifted(q, B::from(1000000007), 0) + rest;
  check(compare(back, a) == 0 && compare(rest, B::from(1000000007)) < 0, "division");
  bool exact = false;
  check(square_root(B::from(99), &exact).low64() == 9 && !exact, "root of 99");
  check(square_root(B::from(81), &exact).low64() == 9 && exact, "root of 81");
  check(square_root(B::from(0), &exact).low64() == 0 && exact, "root of 0");
}

void run_exponentials() {
  std::vector<int32_t> table(256), shifted(256);
  for (int f = 0; f <= 19; ++f) {
    for (int byte = 0; byte < 3; ++byte) {
      check(gvm::exponential_table(f, byte, table.data()), "an exponential table is refused");
      check(table[0] == int32_t{1} << 30, "exp(0)");
      for (int i = 1; i < 256; ++i) check(table[i] <= table[i - 1], "exp(-i) rises");
      if (byte == 0 || f < 8) continue;
      check(gvm::exponential_table(f - 8, byte - 1, shifted.data()) && shifted == table,
            "a byte is 8 fraction bits");
    }
  }
  gvm::exponential_table(0, 0, table.data());
  check(table[1] == 395007542 && table[20] == 2 && table[21] == 1 && table[22] == 0, "2^30 / e");
  gvm::exponential_table(19, 0, table.data());
  check(table[1] == 1073739776, "2^30 * exp(-2^-19)");
  for (const int f : {-1, 20}) check(!gvm::exponential_table(f, 0, table.data()), "fraction bits");
  for (const int byte : {-1, 3}) check(!gvm::exponential_table(8, byte, table.data()), "byte");
  std::vector<int32_t> log(gvm::kTableEntries);
  gvm::unary_table(2, 0, 31, 32, log.data(), nullptr);
  check((gvm::kLn2At40 + 256) >> 9 == log[2], "kLn2At40");
}

// What kernels read: whole tables and the entries of some inputs hold what unary_table says.
void run_packed() {
  gvm::TableCache cache;
  const std::vector<int16_t> inputs = {-32768, -1, 0, 1, 77, 32767};
  for (const int bits : {16, 32}) {
    for (const UnaryFunction function : {UnaryFunction::tanh, UnaryFunction::reciprocal}) {
      const int f = static_cast<int>(function);
      const Table table(function, 12, 10, bits);
      const gvm::UnaryTable* whole = cache.unary(f, 12, 10, bits);
      check(whole != nullptr && whole == cache.unary(f, 12, 10, bits), "a table is kept");
      gvm::GrowingTable growing(f, 12, 10, bits);
      const gvm::UnaryTable* some = growing.at(inputs.data(), 6);
      check(some != nullptr, "some entries");
      const auto holds = [&](const gvm::UnaryTable& t, int q) {
        const uint16_t i = static_cast<uint16_t>(q);
        return (bits == 16 ? t.narrow[i] : t.wide[i]) == table.at(q) &&
               (!t.clamped.empty() && t.clamped[i] != 0) == table.clamps(q);
      };
      for (int q = -32768; q < 32768; ++q) check(holds(*whole, q), "a whole table differs");
      for (const int16_t q : inputs) check(holds(*some, q), "an entry differs");
      // Any inputs in any order, with more calls than make it whole.
      std::vector<int16_t> few(997);
      for (int call = 0; call < 70; ++call) {
        for (size_t i = 0; i < few.size(); ++i) {
          few[i] = static_cast<int16_t>((i * 7919 + static_cast<size_t>(call) * 31) & 0x7fff);
          if (call % 2 == 1) few[i] = static_cast<int16_t>(-few[i] - 1);
        }
        some = growing.at(few.data(), static_cast<int64_t>(few.size()));
        bool same = true;
        for (const int16_t q : few) same = same && holds(*some, q);
        for (const int16_t q : inputs) same = same && holds(*some, q);
        check(same, "a growing table differs");
      }
      check(some->clamped == whole->clamped && some->low == whole->low, "a table that is whole");
      check(whole->clamped.empty() == (function == UnaryFunction::tanh), "flags without clamps");
    }
  }
  // Where the clamped inputs are said to be those at the ends, they are; as tanh's at 15 bits.
  for (const UnaryFunction function :
       {UnaryFunction::tanh, UnaryFunction::exp, UnaryFunction::reciprocal}) {
    const int f = static_cast<int>(function);
    const gvm::UnaryTable* t = cache.unary(f, 11, 15, 16);
    check(t != nullptr, "a table is refused");
    bool same = true;
    for (int q = -32768; q < 32768; ++q) {
      const bool clamps = !t->clamped.empty() && t->clamped[static_cast<uint16_t>(q)] != 0;
      same = same && clamps == (q <= t->low || q >= t->high);
    }
    check(same == t->clamps_at_ends, "clamps at the ends");
    if (function == UnaryFunction::tanh) check(same && t->high < 32768, "of tanh");
  }
  check(cache.unary(0, 12, 10, 16, inputs.data(), 6) == nullptr, "a bad growing table");
  check(cache.unary(0, 12, 10, 16) == nullptr && cache.exponentials(20) == nullptr, "a bad table");
  const gvm::Exponentials* e = cache.exponentials(8);
  check(e != nullptr && e == cache.exponentials(8) && e->factor[1][1] == 395007542, "exponentials");
}

void run_refused() {
  std::vector<int32_t> table(gvm::kTableEntries, 7);
  const int bad[][4] = {{0, 8, 8, 16},   {23, 8, 8, 16}, {1, -33, 8, 16}, {1, 48, 8, 16},
                        {1, 8, -33, 16}, {1, 8, 64, 16}, {1, 8, 8, 8},    {1, 8, 8, 64}};
  for (const auto& b : bad) {
    check(!gvm::unary_table(b[0], b[1], b[2], b[3], table.data(), nullptr), "a bad argument");
  }
  for (const int32_t v : table) check(v == 7, "a refused call has written");
}

// Lines "function in_bits out_bits bits digest": BLAKE3 of 65536 little-endian i32, then the flags.
size_t run_digests(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  size_t count = 0;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    int function = 0, in_bits = 0, out_bits = 0, bits = 0;
    std::string expected;
    fields >> function >> in_bits >> out_bits >> bits >> expected;
    const Table table(static_cast<UnaryFunction>(function), in_bits, out_bits, bits);
    std::vector<uint8_t> bytes;
    for (const int32_t v : table.values) {
      for (int i = 0; i < 32; i += 8) {
        bytes.push_back(static_cast<uint8_t>(static_cast<uint32_t>(v) >> i));
      }
    }
    bytes.insert(bytes.end(), table.clamped.begin(), table.clamped.end());
    char digest[2 * gvm::kHashBytes + 1];
    gvm::to_hex(gvm::blake3(bytes.data(), bytes.size()).data(), gvm::kHashBytes, digest);
    check(expected == digest, "digest: " + line);
    ++count;
  }
  return count;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: tables_test VECTORS\n");
    return 2;
  }
  run_big();
  run_values();
  run_laws();
  run_precisions<7, 4>();
  run_precisions<11, 8>();
  run_exponentials();
  run_packed();
  run_refused();
  const size_t digests = run_digests(std::string(argv[1]) + "/tables/digests.txt");
  check(digests >= 88, "too few digests in tables/digests.txt");
  std::printf("tables_test: %zu digests, %d failures\n", digests, failures);
  return failures == 0 ? 0 : 1;
}
