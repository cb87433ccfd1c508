// The loops of optimizer kernels in AVX-512.
#include "cpu/kernels.h"

#if GVM_X86_64

#include <immintrin.h>

#include "cpu/update.inc"

namespace gvm {

namespace {

constexpr int kLanes = 8;

inline __m512i repeat(int64_t v) { return _mm512_set1_epi64(v); }

inline __m512i load(const int16_t* p, __mmask8 mask) {
  return _mm512_cvtepi16_epi64(_mm_maskz_loadu_epi16(mask, p));
}
inline __m512i load(const int32_t* p, __mmask8 mask) {
  return _mm512_cvtepi32_epi64(_mm256_maskz_loadu_epi32(mask, p));
}

// Stores 8 clamped numbers and returns where they changed.
inline __mmask8 store(__m512i q, __mmask8 mask, int16_t* p) {
  _mm_mask_storeu_epi16(p, mask, _mm512_cvtsepi64_epi16(q));
  return _mm512_mask_cmpgt_epu64_mask(mask, _mm512_add_epi64(q, repeat(0x8000)), repeat(0xffff));
}
inline __mmask8 store(__m512i q, __mmask8 mask, int32_t* p) {
  _mm256_mask_storeu_epi32(p, mask, _mm512_cvtsepi64_epi32(q));
  return _mm512_mask_cmpgt_epu64_mask(mask, _mm512_add_epi64(q, repeat(0x80000000)),
                                      repeat(0xffffffff));
}

// The quotients of `n` <= kLanes elements by dividing.
template <typename V>
__m512i divided(const VelocityTerms& t, const int64_t* g, const V* v, int64_t n,
                const uint32_t* r) {
  alignas(64) int64_t values[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t moved = static_cast<uint64_t>(g[i]) * static_cast<uint64_t>(t.exact.rate);
    const uint64_t kept =
        static_cast<uint64_t>(t.exact.keep) * static_cast<uint64_t>(int64_t{v[i]});
    values[i] = static_cast<int64_t>(kept - (moved << t.exact.up));
  }
  kQuotientScalar.run(values, n, t.divisor, t.rounding, r, nullptr);
  return _mm512_load_si512(values);
}

// A quotient q is ceil(x - r / 2^32) if x is numerator / divisor, or with 1/2 for r / 2^32 to
// nearest, where a tie is decided by dividing. Of x, y is known with y < x * 2^32 < y + 4: so is q,
// unless a multiple of 2^32 lies between.
template <typename V>
int64_t velocities_of(const VelocityTerms& t, const int64_t* g, const V* v, int64_t n,
                      const uint32_t* r, V* out) {
  const bool nearest = t.rounding == Rounding::nearest;
  const __m512i kept = repeat(t.kept), high = repeat(t.high), low = repeat(t.low);
  const __m512i above = repeat((int64_t{1} << 32) - 3), half = repeat(int64_t{1} << 31);
  const __m512i most = repeat(0xfffffffc);
  const __m128i right = _mm_cvtsi32_si128(t.right);
  __m512i g_bits = _mm512_setzero_si512(), v_bits = g_bits;
  int64_t clamps = 0;
  for (int64_t i = 0; i < n; i += kLanes) {
    const __mmask8 mask = static_cast<__mmask8>(n - i >= kLanes ? 0xff : (1 << (n - i)) - 1);
    const __m512i of_g = _mm512_maskz_loadu_epi64(mask, g + i), of_v = load(v + i, mask);
    g_bits = _mm512_ternarylogic_epi64(g_bits, of_g, _mm512_srai_epi64(of_g, 63), 0xf6);
    if (sizeof(V) == 4) {
      v_bits = _mm512_ternarylogic_epi64(v_bits, of_v, _mm512_srai_epi64(of_v, 63), 0xf6);
    }
    const __m512i moved =
        _mm512_sra_epi64(_mm512_add_epi64(_mm512_mul_epi32(of_g, high),
                                          _mm512_srai_epi64(_mm512_mul_epi32(of_g, low), 31)),
                         right);
    const __m512i drawn =
        nearest ? half : _mm512_cvtepu32_epi64(_mm256_maskz_loadu_epi32(mask, r + i));
    const __m512i y = _mm512_sub_epi64(
        _mm512_add_epi64(_mm512_slli_epi64(_mm512_mul_epi32(of_v, kept), 1), above),
        _mm512_add_epi64(moved, drawn));
    __m512i q = _mm512_srai_epi64(y, 32);
    const __m512i fraction = _mm512_and_si512(y, repeat(0xffffffff));
    if (_mm512_mask_cmpgt_epu64_mask(mask, fraction, most) != 0) {
      q = divided(t, g + i, v + i, n - i < kLanes ? n - i : kLanes, nearest ? nullptr : r + i);
    }
    clamps += __builtin_popcount(store(q, mask, out + i));
  }
  const auto has_room_for = [](__m512i bits, int room) {
    return room >= 0 && (_mm512_reduce_or_epi64(bits) >> (room < 62 ? room : 62)) == 0;
  };
  const bool known =
      has_room_for(g_bits, t.exact.gradient_room) && has_room_for(v_bits, t.exact.velocity_room);
  return known ? clamps : -1;
}

int64_t velocities(const VelocityTerms& terms, const int64_t* g, const void* v, int bytes,
                   int64_t n, const uint32_t* r, void* out) {
  if (bytes == 2) {
    if (terms.exact.velocity_room < 15) return -1;
    return velocities_of(terms, g, static_cast<const int16_t*>(v), n, r,
                         static_cast<int16_t*>(out));
  }
  return velocities_of(terms, g, static_cast<const int32_t*>(v), n, r, static_cast<int32_t*>(out));
}

}  // namespace

const UpdateKernels kUpdateAvx512 = {numerators, add_shifted, clamp, narrow_sums, velocities};

}  // namespace gvm

#endif
