// Quotients by count * 2^shift in AVX-512. The division by the count is a product with its
// reciprocal that is at most 4 too small, stepped up; where a quotient does not fit 32 bits, the
// plain form takes the vector.
#include "cpu/kernels.h"

#if GVM_X86_64

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl")
// GCC 12's own headers read variables that they leave uninitialised on purpose.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace gvm {

namespace {

constexpr int kLanes = 8;

inline __m512i repeat(uint64_t v) { return _mm512_set1_epi64(static_cast<int64_t>(v)); }

void run(int64_t* values, int64_t n, Divisor divisor, Rounding rounding, const uint32_t* r,
         const int64_t* base) {
  const uint64_t c = divisor.count;
  int length = 0;  // c <= 2^length
  while ((uint64_t{1} << length) < c) ++length;
  const int s = divisor.shift;
  const bool nearest = rounding == Rounding::nearest;
  const __m512i count = repeat(c), twice = repeat(2 * c), half = repeat(c << 31);
  const __m512i reciprocal = repeat((uint64_t{1} << (31 + length)) / c);
  const __m512i offset = repeat(c << 31), range = repeat(c << 32);
  const __m512i low_bits = repeat((uint64_t{1} << s) - 1);
  const __m512i more_bits = repeat(s > 32 ? (uint64_t{1} << (s - 32)) - 1 : 0);
  const __m512i one = repeat(1), two = repeat(2), middle = repeat(uint64_t{1} << 31);
  const __m128i shift = _mm_cvtsi32_si128(s), places = _mm_cvtsi32_si128(length);
  const __m128i left = _mm_cvtsi32_si128(s > 32 ? 0 : 32 - s);
  const __m128i right = _mm_cvtsi32_si128(s > 32 ? s - 32 : 0);
  for (int64_t i = 0; i < n; i += kLanes) {
    const __mmask8 mask = static_cast<__mmask8>(n - i >= kLanes ? 0xff : (1 << (n - i)) - 1);
    const __m512i value = _mm512_maskz_loadu_epi64(mask, values + i);
    // From 0 on, so that the quotient has 32 bits.
    const __m512i whole = _mm512_add_epi64(_mm512_sra_epi64(value, shift), offset);
    if (_mm512_cmpge_epu64_mask(whole, range) != 0) {
      const int64_t some = n - i < kLanes ? n - i : kLanes;
      kQuotientScalar.run(values + i, some, divisor, rounding, nearest ? nullptr : r + i,
                          base == nullptr ? nullptr : base + i);
      continue;
    }
    __m512i q =
        _mm512_srli_epi64(_mm512_mul_epu32(_mm512_srl_epi64(whole, places), reciprocal), 31);
    __m512i rest = _mm512_sub_epi64(whole, _mm512_mul_epu32(q, count));
    // rest < 5 c.
    __mmask8 step = _mm512_cmpge_epu64_mask(rest, twice);
    rest = _mm512_mask_sub_epi64(rest, step, rest, twice);
    q = _mm512_mask_add_epi64(q, step, q, two);
    step = _mm512_cmpge_epu64_mask(rest, twice);
    rest = _mm512_mask_sub_epi64(rest, step, rest, twice);
    q = _mm512_mask_add_epi64(q, step, q, two);
    step = _mm512_cmpge_epu64_mask(rest, count);
    rest = _mm512_mask_sub_epi64(rest, step, rest, count);
    q = _mm512_mask_add_epi64(q, step, q, one);
    q = _mm512_sub_epi64(q, middle);
    const __m512i low = _mm512_and_si512(value, low_bits);
    const __m512i scaled = _mm512_add_epi64(_mm512_slli_epi64(rest, 32),
                                            _mm512_srl_epi64(_mm512_sll_epi64(low, left), right));
    __mmask8 tie = _mm512_test_epi64_mask(low, more_bits);  // an equal comparison is decided
    __m512i bar;
    if (nearest) {
      bar = half;
      __m512i sum = q;
      if (base != nullptr) {
        sum = _mm512_add_epi64(sum, _mm512_maskz_loadu_epi64(mask, base + i));
      }
      tie = static_cast<__mmask8>(tie | _mm512_test_epi64_mask(sum, one));
    } else {
      bar = _mm512_mul_epu32(_mm512_cvtepu32_epi64(_mm256_maskz_loadu_epi32(mask, r + i)), count);
    }
    const __mmask8 up = static_cast<__mmask8>(_mm512_cmplt_epu64_mask(bar, scaled) |
                                              (_mm512_cmpeq_epi64_mask(bar, scaled) & tie));
    _mm512_mask_storeu_epi64(values + i, mask, _mm512_mask_add_epi64(q, up, q, one));
  }
}

}  // namespace

const QuotientKernels kQuotientAvx512 = {run};

}  // namespace gvm

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
