// Rows of logits through exponentials and quotients (numerics section 7).
#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "cpu/strided.h"
#include "ops/logits.h"

namespace gvm {

// E(d) in Q30. Where d >= 22 * 2^F, which includes d >= 2^24, it is 0.
constexpr int32_t exponential(const Exponentials& tables, int64_t d, int64_t limit) {
  if (d >= limit) return 0;
  int64_t e = tables.factor[2][d >> 16];
  e = (e * tables.factor[1][(d >> 8) & 255] + (1 << 29)) >> 30;
  e = (e * tables.factor[0][d & 255] + (1 << 29)) >> 30;
  return static_cast<int32_t>(e);
}

constexpr int64_t exponential_limit(int fraction_bits) {
  return std::min(int64_t{22} << fraction_bits, int64_t{1} << 24);
}

// E of each logit into e, and their sum, at least 2^30 and at most 2^54.
template <typename T>
int64_t exponentials(const Exponentials& tables, int64_t limit, const T* x, int64_t n, int32_t* e) {
  const int64_t largest = *std::max_element(x, x + n);
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    e[i] = exponential(tables, largest - x[i], limit);
    sum += e[i];
  }
  return sum;
}

// ln(sum * 2^-30) at 24 fraction bits, sum in [2^30, 2^62]: 32 binary digits by squaring.
constexpr int64_t logarithm(int64_t sum) {
  const int exponent = bit_length(static_cast<uint64_t>(sum)) - 1;
  uint64_t x = static_cast<uint64_t>(sum);
  x = exponent <= 31 ? x << (31 - exponent) : x >> (exponent - 31);  // in [2^31, 2^32)
  int64_t digits = 0;
  for (int i = 0; i < 32; ++i) {
    x = (x * x) >> 31;
    digits <<= 1;
    if ((x >> 32) != 0) {
      x >>= 1;
      digits |= 1;
    }
  }
  const int64_t log2 = (static_cast<int64_t>(exponent - 30) << 32) + digits;
  return static_cast<int64_t>(shr(add(mul(log2, kLn2At40), from_int64(int64_t{1} << 47)), 48).lo);
}

// Quotients by one divisor D in [1, 2^62], equal to quotient(N, D, ...): the division by D is a
// product with floor((2^64 - 1) / D), at most 2 too small for N < 2^62, and then made right.
class Divider {
 public:
  explicit Divider(int64_t divisor)
      : divisor_(static_cast<uint64_t>(divisor)), inverse_(~uint64_t{0} / divisor_) {}

  // The quotient of 0 <= n < 2^62, before the clamp.
  int64_t divide(int64_t n, Rounding rounding, uint32_t r) const {
    uint64_t q = mul_unsigned(static_cast<uint64_t>(n), inverse_).hi;
    uint64_t remainder = static_cast<uint64_t>(n) - q * divisor_;
    for (int i = 0; i < 2; ++i) {
      const uint64_t low = remainder >= divisor_ ? 1 : 0;
      q += low;
      remainder -= divisor_ & (0 - low);
    }
    const uint64_t odd = q & 1;
    const bool up = rounding == Rounding::nearest ? 2 * remainder + odd > divisor_
                                                  : scale_by_random(divisor_, r) < remainder;
    return static_cast<int64_t>(q + (up ? 1 : 0));
  }

 private:
  uint64_t divisor_, inverse_;
};

// The session's tables of a format, or `own`; null after a failure.
inline const Exponentials* find_exponentials(const Call& call, int fraction_bits,
                                             Exponentials* own) {
  const Exponentials* found = call.tables != nullptr ? call.tables->exponentials(fraction_bits)
                              : make_exponentials(fraction_bits, own) ? own
                                                                      : nullptr;
  if (found == nullptr) call.error->fail(Status::internal, "%s: no tables", call.op->name);
  return found;
}

// Whether all labels lie in [0, classes); else fails with the first that does not.
inline bool check_labels(const Call& call, const int32_t* labels, int64_t count, int64_t classes) {
  for (int64_t i = 0; i < count; ++i) {
    if (labels[i] < 0 || labels[i] >= classes) {
      return call.error->fail(Status::bad_input, "%s: label must be in [0, %lld), received %d",
                              call.op->name, static_cast<long long>(classes), labels[i]);
    }
  }
  return true;
}

// out = quotient((E_i - [i = label] * S) * 2^F', S) for all rows; labels may be null.
template <typename T>
void softmax_rows(const Call& call, const Exponentials& tables, const int32_t* labels) {
  const Tensor& x = call.in[0];
  const Tensor& out = call.out[0];
  const int64_t n = x.dims[x.type.rank - 1];
  const int64_t limit = exponential_limit(x.type.fraction_bits);
  const Rounding rounding = static_cast<Rounding>(call.attr(2));
  const int up = std::max(out.type.fraction_bits, 0), down = std::max(-out.type.fraction_bits, 0);
  const int bits = dtype_bits(out.type.dtype);
  const IndexMap index = index_map(out.type, call.batch);
  std::atomic<int64_t> clamps{0};
  for_ranges(
      call, x.elements / n, std::max<int64_t>(1, kGrain / 8 / n), [&](int64_t first, int64_t last) {
        std::vector<int32_t> e(static_cast<size_t>(n));
        std::vector<uint32_t> words(static_cast<size_t>(rounding == Rounding::nearest ? 0 : n));
        int64_t clamped = 0;
        for (int64_t row = first; row < last; ++row) {
          const int64_t sum = exponentials(tables, limit, x.as<T>() + row * n, n, e.data());
          const int64_t label = labels != nullptr ? labels[row] : -1;
          if (rounding != Rounding::nearest) {
            fill_words(call.seed, call.site, call.step, purpose_of(rounding),
                       static_cast<uint64_t>(index(row * n)), static_cast<uint64_t>(n),
                       words.data());
          }
          // Dividend and divisor are at most sum * 2^|F'|.
          const bool narrow = bit_length(static_cast<uint64_t>(sum)) + up + down <= 62;
          const Int128 divisor = shl(from_int64(sum), down);
          const Divider divider(narrow ? static_cast<int64_t>(divisor.lo) : 1);
          with_narrow(out.type.dtype, [&](auto zero) {
            using Out = decltype(zero);
            Out* y = out.as<Out>() + row * n;
            for (int64_t i = 0; i < n; ++i) {
              const uint32_t r = words.empty() ? 0 : words[static_cast<size_t>(i)];
              const int64_t value = e[static_cast<size_t>(i)] - (i == label ? sum : 0);
              const int64_t q =
                  narrow && value >= 0
                      ? clamp_and_count(divider.divide(value << up, rounding, r), bits, &clamped)
                      : quotient(shl(from_int64(value), up), divisor, rounding, r, bits, &clamped);
              y[i] = static_cast<Out>(q);
            }
          });
        }
        clamps += clamped;
      });
  *call.clamps += clamps;
}

}  // namespace gvm
