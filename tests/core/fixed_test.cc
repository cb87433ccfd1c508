// fixed.h against its vectors, against the compiler's 128-bit type, and against the meaning of its
// words; argv[1] is tests/vectors.
#include "fixed.h"

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <limits>
#include <sstream>
#include <string>

#include "isqrt.h"
#include "random.h"

namespace gvm {
namespace {

constexpr int64_t kMax64 = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin64 = std::numeric_limits<int64_t>::min();

int failures = 0;

void check(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  if (failures <= 20) std::fprintf(stderr, "fixed_test: %s\n", what.c_str());
}

std::string text(int64_t v) { return std::to_string(v); }

// --- vectors -------------------------------------------------------------------------------------

// Calls `judge` with each line that is not a comment; it says whether the line holds.
void for_each_line(const std::string& path, const std::function<bool(std::istringstream&)>& judge) {
  std::ifstream file(path);
  std::string line;
  int number = 0, judged = 0;
  while (std::getline(file, line)) {
    ++number;
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    check(judge(fields), path + ":" + std::to_string(number) + ": " + line);
    ++judged;
  }
  check(judged > 100, path + ": only " + std::to_string(judged) + " vectors read");
}

Int128 parse_hex128(const std::string& digits) {
  const uint64_t hi = std::stoull(digits.substr(0, 16), nullptr, 16);
  const uint64_t lo = std::stoull(digits.substr(16), nullptr, 16);
  return {lo, static_cast<int64_t>(hi)};
}

bool convert_line(std::istringstream& fields) {
  int64_t A = 0, expected = 0, expected_clamps = 0;
  uint32_t r = 0;
  int s = 0, mode = 0, bits = 0;
  if (!(fields >> A >> s >> mode >> r >> bits >> expected >> expected_clamps)) return false;
  int64_t clamps = 0;
  const int64_t value = convert(A, s, static_cast<Rounding>(mode), r, bits, &clamps);
  return value == expected && clamps == expected_clamps;
}

bool quotient_line(std::istringstream& fields) {
  std::string n, d;
  int64_t expected = 0, expected_clamps = 0;
  uint32_t r = 0;
  int mode = 0, bits = 0;
  if (!(fields >> n >> d >> mode >> r >> bits >> expected >> expected_clamps)) return false;
  const Int128 N = parse_hex128(n), D = parse_hex128(d);
  const Rounding rounding = static_cast<Rounding>(mode);
  int64_t clamps = 0;
  bool holds = quotient(N, D, rounding, r, bits, &clamps) == expected && clamps == expected_clamps;
  if (fits_int64(N) && fits_int64(D)) {
    int64_t narrow_clamps = 0;
    const int64_t narrow = quotient(static_cast<int64_t>(N.lo), static_cast<int64_t>(D.lo),
                                    rounding, r, bits, &narrow_clamps);
    holds = holds && narrow == expected && narrow_clamps == expected_clamps;
  }
  return holds;
}

bool isqrt_line(std::istringstream& fields) {
  std::string v;
  uint64_t expected = 0;
  if (!(fields >> v >> expected)) return false;
  const Int128 value = parse_hex128(v);
  return isqrt(value) == expected && (value.hi != 0 || isqrt64(value.lo) == expected);
}

bool rule_line(std::istringstream& fields) {
  std::string rule;
  fields >> rule;
  if (rule == "gradient") {
    int64_t delta = 0, q = 0, expected = 0;
    int bits = 0;
    if (!(fields >> delta >> q >> bits >> expected)) return false;
    return gradient_through_convert(delta, q, bits) == expected;
  }
  uint64_t terms = 0;
  int has_bias = 0, fraction_bits = 0, bias_fraction_bits = 0, expected = 0;
  if (!(fields >> terms >> has_bias >> fraction_bits >> bias_fraction_bits >> expected)) {
    return false;
  }
  return rule == "accumulator" && accumulator_fits(terms, has_bias != 0, fraction_bits,
                                                   bias_fraction_bits) == (expected != 0);
}

// --- arguments -----------------------------------------------------------------------------------

// Reproducible words of every length: random bits, shifted down by a random count.
struct Source {
  uint32_t site;
  uint64_t at = 0;

  uint64_t bits64() {
    const PhiloxBlock block = random_block(0, site, 0, Purpose::user, at++);
    return block.word[0] | (static_cast<uint64_t>(block.word[1]) << 32);
  }
  int64_t any64() {
    const uint64_t shift = bits64() % 64;
    return static_cast<int64_t>(bits64()) >> shift;
  }
  Int128 any128() {
    const int shift = static_cast<int>(bits64() % 128);
    return shr(Int128{bits64(), static_cast<int64_t>(bits64())}, shift);
  }
};

// --- 128 bits ------------------------------------------------------------------------------------

#if defined(__SIZEOF_INT128__)
__extension__ using Wide = __int128;
__extension__ using WideBits = unsigned __int128;

Wide wide(Int128 v) {
  return static_cast<Wide>((static_cast<WideBits>(static_cast<uint64_t>(v.hi)) << 64) | v.lo);
}
WideBits wide(UInt128 v) { return (static_cast<WideBits>(v.hi) << 64) | v.lo; }
WideBits bits(Wide v) { return static_cast<WideBits>(v); }

void check_against_compiler() {
  Source source{1};
  const auto same = [](Int128 ours, WideBits theirs, const char* what) {
    check(bits(wide(ours)) == theirs, std::string("128 bits: ") + what);
  };
  for (int i = 0; i < 20000; ++i) {
    const Int128 a = source.any128(), b = source.any128();
    const int64_t c = source.any64(), d = source.any64();
    const Wide wa = wide(a), wb = wide(b);
    same(add(a, b), bits(wa) + bits(wb), "add");
    same(sub(a, b), bits(wa) - bits(wb), "sub");
    same(neg(a), -bits(wa), "neg");
    same(mul(c, d), bits(static_cast<Wide>(c) * d), "mul of 64 bits");
    same(mul(a, c), bits(wa) * bits(static_cast<Wide>(c)), "mul of 128 by 64 bits");
    same(from_int64(c), bits(static_cast<Wide>(c)), "from_int64");
    check(compare(a, b) == (wa < wb ? -1 : wa > wb), "128 bits: compare");
    check(
        compare(to_unsigned(a), to_unsigned(b)) == (bits(wa) < bits(wb) ? -1 : bits(wa) > bits(wb)),
        "128 bits: unsigned compare");
    check(compare(a, a) == 0 && is_negative(a) == (wa < 0), "128 bits: sign");
    check(fits_int64(a) == (wa >= kMin64 && wa <= kMax64), "128 bits: fits_int64");
    const int n = i % 128;
    same(shl(a, n), bits(wa) << n, "shl");
    same(shr(a, n), bits(wa >> n), "shr");
    check(wide(shr(to_unsigned(a), n)) == bits(wa) >> n, "128 bits: unsigned shr");
    if (wide(to_unsigned(b)) != 0) {
      const Division division = divide(to_unsigned(a), to_unsigned(b));
      check(wide(division.quotient) == bits(wa) / bits(wb), "128 bits: quotient");
      check(wide(division.remainder) == bits(wa) % bits(wb), "128 bits: remainder");
    }
    const int length = bit_length(to_unsigned(a));
    check(length == 128 || bits(wa) >> length == 0, "128 bits: bit_length too small");
    check(length == 0 || (bits(wa) >> (length - 1)) == 1, "128 bits: bit_length too large");
  }
}
#else
void check_against_compiler() {}
#endif

void check_shift_ends() {
  const Int128 v = {0x0123456789abcdefu, -0x1234};
  const Int128 minus_one = from_int64(-1);
  for (const int n : {128, 129, 1000, std::numeric_limits<int>::max()}) {
    check(is_zero(shl(v, n)), "shl by 128 and more is 0");
    check(compare(shr(v, n), minus_one) == 0, "shr by 128 and more is the sign");
    check(compare(shr(to_unsigned(v), n), UInt128{0, 0}) == 0, "unsigned shr by 128 and more is 0");
  }
  for (const int n : {0, -1, std::numeric_limits<int>::min()}) {
    check(compare(shl(v, n), v) == 0 && compare(shr(v, n), v) == 0, "a shift by 0 or less is none");
  }
  const Division by_zero = divide(UInt128{7, 9}, UInt128{0, 0});
  check(compare(by_zero.quotient, UInt128{0, 0}) == 0 &&
            compare(by_zero.remainder, UInt128{7, 9}) == 0,
        "division by zero has a stated value");
}

// n = q * d + r with r < d determines q and r, so the check needs no second division. Operands with
// digits of all ones and all zeros reach the corrections of the long division.
void check_division() {
  Source source{2};
  const auto operand = [&source](int i) {
    UInt128 v = to_unsigned(source.any128());
    const uint64_t choice = source.bits64();
    if (i % 2 == 0) {
      for (int digit = 0; digit < 4; ++digit) {
        const uint64_t kind = (choice >> (2 * digit)) & 3;
        uint64_t& limb = digit < 2 ? v.lo : v.hi;
        const uint64_t mask = uint64_t{0xffffffffu} << (32 * (digit & 1));
        if (kind == 0) limb &= ~mask;
        if (kind == 1) limb |= mask;
      }
      v = shr(v, static_cast<int>((choice >> 8) % 128));
    }
    return v;
  };
  for (int i = 0; i < 200000; ++i) {
    const UInt128 n = operand(i), d = operand(i);
    if (d.lo == 0 && d.hi == 0) continue;
    const Division division = divide(n, d);
    const UInt128 q = division.quotient;
    UInt128 product = mul_unsigned(q.lo, d.lo);
    product.hi += q.lo * d.hi + q.hi * d.lo;
    const bool exact = compare(add(product, division.remainder), n) == 0;
    const bool fits = bit_length(q) + bit_length(d) <= 129 && compare(product, n) <= 0;
    check(exact && fits && compare(division.remainder, d) < 0, "divide: n != q * d + r");
  }
}

// --- Convert -------------------------------------------------------------------------------------

// All 2^16 draws: exactly `discarded` of every 2^s of them step up.
void check_probability() {
  for (int s = 1; s <= 16; ++s) {
    const int64_t unit = int64_t{1} << s;
    for (const int64_t discarded :
         {int64_t{0}, int64_t{1}, unit / 3, unit / 2, unit - 1, (0x5bd1 * unit) >> 16}) {
      for (const int64_t floor : {int64_t{0}, int64_t{-1}, int64_t{-32768}, int64_t{12345}}) {
        int64_t up = 0, clamps = 0;
        for (uint32_t r = 0; r < 65536; ++r) {
          const int64_t value =
              convert_stochastic(floor * unit + discarded, s, r, 16, &clamps) - floor;
          if (value != 0 && value != 1) up = -65536;
          up += value;
        }
        check(up << s == discarded << 16 && clamps == 0,
              "convert: P(up) at s = " + text(s) + ", discarded " + text(discarded));
      }
    }
  }
}

// Above 16 bits the result never falls as r grows (test_proofs.py), so one threshold is the
// probability: the least r that steps up is (2^s - discarded) * 2^(32 - s), of 2^32.
void check_threshold() {
  Source source{3};
  for (int i = 0; i < 100000; ++i) {
    const int s = 17 + i % 16;
    const uint64_t unit = uint64_t{1} << s;
    const uint64_t discarded =
        i < 64 ? static_cast<uint64_t>(i / 16) : source.bits64() & (unit - 1);
    const int64_t floor = static_cast<int64_t>(source.bits64() % 65535) - 32768;
    const int64_t A = floor * static_cast<int64_t>(unit) + static_cast<int64_t>(discarded);
    const uint64_t first_up = (unit - discarded) << (32 - s);
    int64_t clamps = 0;
    const int64_t below =
        convert_stochastic(A, s, static_cast<uint32_t>(first_up - 1), 16, &clamps);
    check(below == floor, "convert: below the threshold, s = " + text(s));
    if (discarded == 0) continue;
    const int64_t above = convert_stochastic(A, s, static_cast<uint32_t>(first_up), 16, &clamps);
    check(above == floor + 1 && clamps == 0, "convert: at the threshold, s = " + text(s));
  }
}

// The kernels' forms, in both widths, on all that they accept.
template <typename Lane>
void check_lanes(uint32_t site) {
  constexpr int width = std::numeric_limits<std::make_unsigned_t<Lane>>::digits;
  constexpr Lane bound = Lane{1} << (width - 2);
  Source source{site};
  const auto same = [](int64_t form, int64_t definition, const char* what, int64_t A, int s) {
    check(form == definition,
          std::string(what) + " of " + text(width) + " bits: A = " + text(A) + ", s = " + text(s));
  };
  for (int i = 0; i < 20000; ++i) {
    const int s = 1 + i % (width - 1);
    const int64_t unit = static_cast<int64_t>((uint64_t{1} << s) >> 1);
    Lane A = static_cast<Lane>(source.any64());
    // Every fourth A is a tie or beside one; some are the ends of the type.
    if (i % 4 == 0) A = static_cast<Lane>((static_cast<uint64_t>(A) << s) + unit + i / 4 % 3 - 1);
    if (i % 97 == 0) A = std::numeric_limits<Lane>::max() - static_cast<Lane>(i % 2);
    if (i % 89 == 0) A = std::numeric_limits<Lane>::min() + static_cast<Lane>(i % 2);
    if (i % 83 == 0) A = i % 2 != 0 ? bound : -bound;
    const bool bounded = A <= bound && A >= -bound;
    same(nearest_lane<Lane>(A, s), round_nearest(A, s), "nearest_lane", A, s);
    if (bounded && s <= width - 2) {
      same(nearest_bounded<Lane>(A, s), round_nearest(A, s), "nearest_bounded", A, s);
    }
    if (s > 32) continue;
    const uint32_t noise = static_cast<uint32_t>(source.bits64() & ((uint64_t{1} << s) - 1));
    const int64_t definition = add_noise_and_shift(A, s, noise);
    same(stochastic_lane<Lane>(A, s, noise), definition, "stochastic_lane", A, s);
    if (bounded && s <= width - 2) {
      same(stochastic_bounded<Lane>(A, s, noise), definition, "stochastic_bounded", A, s);
    }
  }
}

// --- quotient ------------------------------------------------------------------------------------

// Both widths agree, and the stochastic result steps up exactly below ceil(remainder * 2^32 / D).
void check_quotient() {
  Source source{6};
  for (int i = 0; i < 50000; ++i) {
    const int64_t N = source.any64();
    const int64_t any = source.any64();
    const int64_t D = any <= 0 ? 1 + ~any : any;
    if (D <= 0) continue;
    const uint32_t r = static_cast<uint32_t>(source.bits64());
    int64_t clamps = 0, narrow_clamps = 0;
    const int bits = 16 << (i % 3);
    const std::string what = "quotient: N = " + text(N) + ", D = " + text(D);
    check(quotient_nearest(from_int64(N), from_int64(D), bits, &clamps) ==
              quotient_nearest(N, D, bits, &narrow_clamps),
          what + " to nearest");
    check(quotient_stochastic(from_int64(N), from_int64(D), r, bits, &clamps) ==
              quotient_stochastic(N, D, r, bits, &narrow_clamps),
          what + " stochastic");
    check(clamps == narrow_clamps, what + ": clamps");

    const FloorDivision division = divide_floor(from_int64(N), from_int64(D));
    const Int128 rest = sub(from_int64(N), mul(division.quotient, D));
    check(compare(rest, to_signed(division.remainder)) == 0 && !is_negative(rest) &&
              compare(rest, from_int64(D)) < 0,
          what + ": floor");
    const int64_t floor = static_cast<int64_t>(division.quotient.lo);
    const Division first =
        divide(shl(division.remainder, 32), UInt128{static_cast<uint64_t>(D), 0});
    const uint64_t first_down = first.quotient.lo + (first.remainder.lo != 0 ? 1 : 0);
    check(quotient_stochastic(N, D, static_cast<uint32_t>(first_down), 64, &clamps) == floor ||
              first_down == uint64_t{1} << 32,
          what + " at the threshold");
    if (first_down == 0) continue;
    check(
        quotient_stochastic(N, D, static_cast<uint32_t>(first_down - 1), 64, &clamps) == floor + 1,
        what + " below the threshold");
  }
}

// --- square root ---------------------------------------------------------------------------------

void check_isqrt() {
  Source source{7};
  for (int i = 0; i < 20000; ++i) {
    const Int128 any = source.any128();
    const Int128 v = is_negative(any) ? shr(Int128{any.lo, any.hi & kMax64}, i % 128) : any;
    const uint64_t root = isqrt(v);
    const UInt128 next = add(mul_unsigned(root, root), add(UInt128{root, 0}, UInt128{root, 0}));
    check(compare(mul_unsigned(root, root), to_unsigned(v)) <= 0 &&
              compare(to_unsigned(v), next) <= 0,
          "isqrt: root^2 <= v < (root + 1)^2");
    for (const uint64_t near : {any.lo, any.lo >> (i % 64), (any.lo >> 32) * (any.lo >> 32)}) {
      for (const uint64_t u : {near - 1, near, near + 1}) {
        check(isqrt64_by_division(u) == isqrt64(u), "isqrt64_by_division is isqrt64");
      }
    }
  }
}

// What a compiler can evaluate, it must evaluate to the same.
constexpr int64_t constant_quotient() {
  int64_t clamps = 0;
  return quotient_nearest(Int128{0, 1}, Int128{3, 0}, 64, &clamps) + clamps;
}
static_assert(constant_quotient() == 6148914691236517205, "2^64 / 3");
static_assert(isqrt(Int128{0, 1}) == uint64_t{1} << 32, "sqrt 2^64");
static_assert(convert_random_bits(0) == 0 && convert_random_bits(1) == 16 &&
                  convert_random_bits(16) == 16 && convert_random_bits(17) == 32 &&
                  convert_random_bits(33) == 32,
              "bits drawn");

}  // namespace
}  // namespace gvm

int main(int argc, char** argv) {
  using namespace gvm;
  if (argc != 2) {
    std::fprintf(stderr, "usage: fixed_test <tests/vectors>\n");
    return 2;
  }
  const std::string folder = std::string(argv[1]) + "/fixed/";
  for_each_line(folder + "convert.txt", convert_line);
  for_each_line(folder + "quotient.txt", quotient_line);
  for_each_line(folder + "isqrt.txt", isqrt_line);
  for_each_line(folder + "rules.txt", rule_line);
  check_against_compiler();
  check_shift_ends();
  check_division();
  check_probability();
  check_threshold();
  check_lanes<int32_t>(4);
  check_lanes<int64_t>(5);
  check_quotient();
  check_isqrt();
  if (failures != 0) std::fprintf(stderr, "fixed_test: %d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
