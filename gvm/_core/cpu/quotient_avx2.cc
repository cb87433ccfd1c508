// Quotients by count * 2^shift in AVX2: as in quotient_avx512.cc, with half the lanes. All compared
// numbers are below 2^63, so signed comparisons serve.
#include "cpu/kernels.h"

#if GVM_X86_64

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif

namespace gvm {

namespace {

constexpr int kLanes = 4;

inline __m256i repeat(uint64_t v) { return _mm256_set1_epi64x(static_cast<int64_t>(v)); }
inline __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

// rest and q where rest >= bound - 1: less `bound`, and `step` more.
inline void step_up(__m256i& rest, __m256i& q, __m256i below, __m256i bound, __m256i step) {
  const __m256i due = _mm256_cmpgt_epi64(rest, below);
  rest = _mm256_sub_epi64(rest, _mm256_and_si256(due, bound));
  q = _mm256_add_epi64(q, _mm256_and_si256(due, step));
}

void run(int64_t* values, int64_t n, Divisor divisor, Rounding rounding, const uint32_t* r,
         const int64_t* base) {
  const uint64_t c = divisor.count;
  int length = 0;  // c <= 2^length
  while ((uint64_t{1} << length) < c) ++length;
  const int s = divisor.shift;
  const bool nearest = rounding == Rounding::nearest;
  const __m256i count = repeat(c), twice = repeat(2 * c), half = repeat(c << 31);
  const __m256i below_count = repeat(c - 1), below_twice = repeat(2 * c - 1);
  const __m256i reciprocal = repeat((uint64_t{1} << (31 + length)) / c);
  const __m256i offset = repeat(c << 31), last = repeat((c << 32) - 1);
  const __m256i low_bits = repeat((uint64_t{1} << s) - 1);
  const __m256i more_bits = repeat(s > 32 ? (uint64_t{1} << (s - 32)) - 1 : 0);
  const __m256i zero = _mm256_setzero_si256(), one = repeat(1), two = repeat(2);
  const __m256i middle = repeat(uint64_t{1} << 31), sign = repeat(uint64_t{1} << 63);
  const __m128i shift = _mm_cvtsi32_si128(s), places = _mm_cvtsi32_si128(length);
  const __m128i left = _mm_cvtsi32_si128(s > 32 ? 0 : 32 - s);
  const __m128i right = _mm_cvtsi32_si128(s > 32 ? s - 32 : 0);
  const __m256i sign_shifted = _mm256_srl_epi64(sign, shift);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const __m256i value = load(values + i);
    // The arithmetic shift: v + 2^63 is not negative, and its shift is 2^63 >> s too much.
    const __m256i shifted =
        _mm256_sub_epi64(_mm256_srl_epi64(_mm256_xor_si256(value, sign), shift), sign_shifted);
    // From 0 on, so that the quotient has 32 bits.
    const __m256i whole = _mm256_add_epi64(shifted, offset);
    const __m256i outside =
        _mm256_or_si256(_mm256_cmpgt_epi64(zero, whole), _mm256_cmpgt_epi64(whole, last));
    if (_mm256_testz_si256(outside, outside) == 0) {
      kQuotientScalar.run(values + i, kLanes, divisor, rounding, nearest ? nullptr : r + i,
                          base == nullptr ? nullptr : base + i);
      continue;
    }
    __m256i q =
        _mm256_srli_epi64(_mm256_mul_epu32(_mm256_srl_epi64(whole, places), reciprocal), 31);
    __m256i rest = _mm256_sub_epi64(whole, _mm256_mul_epu32(q, count));
    // rest < 5 c.
    step_up(rest, q, below_twice, twice, two);
    step_up(rest, q, below_twice, twice, two);
    step_up(rest, q, below_count, count, one);
    q = _mm256_sub_epi64(q, middle);
    const __m256i low = _mm256_and_si256(value, low_bits);
    const __m256i scaled = _mm256_add_epi64(_mm256_slli_epi64(rest, 32),
                                            _mm256_srl_epi64(_mm256_sll_epi64(low, left), right));
    // All ones where an equal comparison does not round up.
    __m256i stays = _mm256_cmpeq_epi64(_mm256_and_si256(low, more_bits), zero);
    __m256i bar;
    if (nearest) {
      bar = half;
      const __m256i sum = base == nullptr ? q : _mm256_add_epi64(q, load(base + i));
      const __m256i even = _mm256_cmpeq_epi64(_mm256_and_si256(sum, one), zero);
      stays = _mm256_and_si256(stays, even);
    } else {
      const __m128i drawn = _mm_loadu_si128(reinterpret_cast<const __m128i*>(r + i));
      bar = _mm256_mul_epu32(_mm256_cvtepu32_epi64(drawn), count);
    }
    const __m256i up = _mm256_or_si256(_mm256_cmpgt_epi64(scaled, bar),
                                       _mm256_andnot_si256(stays, _mm256_cmpeq_epi64(scaled, bar)));
    // up is -1 where the quotient steps up.
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(values + i), _mm256_sub_epi64(q, up));
  }
  if (i < n) {
    kQuotientScalar.run(values + i, n - i, divisor, rounding, nearest ? nullptr : r + i,
                        base == nullptr ? nullptr : base + i);
  }
}

}  // namespace

const QuotientKernels kQuotientAvx2 = {run};

}  // namespace gvm

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
