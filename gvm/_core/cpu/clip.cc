#include <cstring>

#include "cpu/optimizer.h"

namespace gvm {

namespace {

enum { kKind, kMultiplier, kExponent, kFractionBits };
enum { kValue, kNorm, kScale };

// floor(v * 2^shift) for v >= 0, at most 2^62, beyond which no gradient goes.
int64_t shifted(int64_t v, int shift) {
  constexpr int64_t kMost = int64_t{1} << 62;
  if (shift < 0) return shift <= -63 ? 0 : v >> -shift;
  int64_t clamps = 0;
  return std::min(shift_left_saturating(v, -shift, 64, &clamps), kMost);
}

// The root of the sum of q^2, q = quotient(g * 2^up, divisor) to 32 bits.
int64_t norm(const Call& call, int64_t count) {
  UInt128 total = {0, 0};
  Mutex lock;
  std::atomic<int64_t> all_clamps{0};
  for (int i = 0; i + 1 < call.inputs; ++i) {
    const Tensor& t = call.in[i];
    const int shift = static_cast<int>(call.attr(kFractionBits)) - t.type.fraction_bits;
    const int up = std::max(0, shift);
    const UpdateDivisor divisor(count, std::max(0, -shift));
    const int64_t* gradient = t.as<int64_t>();
    for_ranges(call, t.elements, 16 * kUpdateBlock, [&](int64_t begin, int64_t end) {
      UInt128 sum = {0, 0};
      int64_t clamps = 0, q[kUpdateBlock];
      for (; begin < end; begin += kUpdateBlock) {
        const int64_t n = std::min(kUpdateBlock, end - begin);
        const int64_t* g = gradient + begin;
        if (divisor.lanes && largest_bits(g, n) <= 61 - up) {
          for (int64_t k = 0; k < n; ++k) {
            q[k] = static_cast<int64_t>(static_cast<uint64_t>(g[k]) << up);
          }
          call.cpu->quotient.run(q, n, divisor.narrow, Rounding::nearest, nullptr, nullptr);
          for (int64_t k = 0; k < n; ++k) q[k] = clamp_and_count(q[k], 32, &clamps);
        } else {
          for (int64_t k = 0; k < n; ++k) {
            q[k] = quotient_nearest(shl(from_int64(g[k]), up), divisor.wide, 32, &clamps);
          }
        }
        for (int64_t k = 0; k < n; ++k) {
          sum = add(sum, UInt128{static_cast<uint64_t>(q[k] * q[k]), 0});
        }
      }
      const Lock guard(lock);
      total = add(total, sum);
      all_clamps += clamps;
    });
  }
  *call.clamps += all_clamps;
  return static_cast<int64_t>(isqrt(to_signed(total)));
}

Status run(const Call& call) {
  const Tensor &t = call.in[0], &last = call.in[call.inputs - 1];
  const int64_t kind = call.attr(kKind), count = *last.as<int64_t>();
  if (kind != kScale && !check_count(call, count)) return Status::bad_input;
  int64_t* out = call.out[0].as<int64_t>();
  if (kind == kNorm) {
    *out = count > 0 ? norm(call, count) : 0;
    return Status::ok;
  }
  const int64_t* gradient = t.as<int64_t>();
  const int scale = kind == kValue ? t.type.fraction_bits : last.type.fraction_bits;
  const int shift = scale - static_cast<int>(call.attr(kExponent));
  const int64_t limit = call.attr(kMultiplier) * (kind == kValue ? std::max<int64_t>(count, 0) : 1);
  const int64_t most = shifted(limit, shift);
  if (count <= 0 || (kind == kScale && count <= std::max<int64_t>(1, most))) {
    std::memcpy(out, gradient, static_cast<size_t>(t.elements) * sizeof(int64_t));
    return Status::ok;
  }
  for_ranges(call, t.elements, 16 * kUpdateBlock, [&](int64_t begin, int64_t end) {
    int64_t clamps = 0;
    if (kind == kValue) {
      for (int64_t i = begin; i < end; ++i) {
        out[i] = std::min(std::max(gradient[i], -most), most);
      }
      return;
    }
    const Int128 norm_of_all = from_int64(count);
    for (int64_t i = begin; i < end; ++i) {
      const Int128 scaled = mul(gradient[i], std::max<int64_t>(1, most));
      out[i] = fits_int64(scaled)
                   ? quotient_nearest(static_cast<int64_t>(scaled.lo), count, 64, &clamps)
                   : quotient_nearest(scaled, norm_of_all, 64, &clamps);
    }
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_clip = {run, false, true, false};

}  // namespace gvm
