#include "cuda/optimizer.h"

namespace gvm {

enum { kKind, kMultiplier, kExponent, kFractionBits };
enum { kValue, kNorm, kScale };

// floor(v * 2^shift) for v >= 0, at most 2^62, beyond which no gradient goes.
GVM_DEVICE_CODE int64_t at_most_2_62(int64_t v, int shift) {
  const int64_t most = int64_t{1} << 62;
  if (shift < 0) return shift <= -63 ? 0 : v >> -shift;
  int64_t clamps = 0;
  const int64_t q = shift_left_saturating(v, -shift, 64, &clamps);
  return q < most ? q : most;
}

// The root of the sum of q^2, q = quotient(g * 2^up, count * 2^down) to 32 bits: each thread sums a
// stride of one gradient, the last all of those.
static Status run_norm(const Call& call, const int64_t* count_at, Fault* fault) {
  constexpr int64_t kParts = 4096;
  UInt128* const parts =
      static_cast<UInt128*>(call.cuda->scratch(0, kParts * static_cast<int64_t>(sizeof(UInt128))));
  int64_t* const clamps = call.cuda->counter(call.clamps);
  call.cuda->clear(parts, kParts * static_cast<int64_t>(sizeof(UInt128)));
  for (int t = 0; t + 1 < call.inputs; ++t) {
    const Tensor& of = call.in[t];
    const Rescale scale =
        rescale(of.type.fraction_bits, static_cast<int>(call.attr(kFractionBits)));
    const int64_t* const gradient = of.as<int64_t>();
    const int64_t elements = of.elements;
    call.cuda->each(
        kParts, GVM_EACH(int64_t part) {
          const int64_t count = *count_at;
          if (count <= 0 || count > kMaxUpdateCount) return;
          UInt128 sum = parts[part];
          int64_t clamped = 0;
          for (int64_t i = part; i < elements; i += kParts) {
            const int64_t q = quotient_nearest(shl(from_int64(gradient[i]), scale.up),
                                               shl(from_int64(count), scale.down), 32, &clamped);
            sum = add(sum, UInt128{static_cast<uint64_t>(q * q), 0});
          }
          parts[part] = sum;
          count_clamps(clamps, clamped);
        });
  }
  int64_t* const out = call.out[0].as<int64_t>();
  call.cuda->each(
      1, GVM_EACH(int64_t) {
        if (*count_at > kMaxUpdateCount) report_scalar(fault, *count_at);
        UInt128 sum = {0, 0};
        for (int64_t part = 0; part < kParts; ++part) sum = add(sum, parts[part]);
        *out = static_cast<int64_t>(isqrt(to_signed(sum)));
      });
  return Status::ok;
}

static Status run_clip(const Call& call) {
  const Tensor &t = call.in[0], &last = call.in[call.inputs - 1];
  const int64_t kind = call.attr(kKind);
  const int64_t* const count_at = last.as<int64_t>();
  Fault* const fault = call.cuda->fault(call, Rule::most, kMaxUpdateCount);
  if (kind == kNorm) return run_norm(call, count_at, fault);
  const int64_t* const gradient = t.as<int64_t>();
  int64_t* const out = call.out[0].as<int64_t>();
  const int scale = kind == kValue ? t.type.fraction_bits : last.type.fraction_bits;
  const int shift = scale - static_cast<int>(call.attr(kExponent));
  const int64_t multiplier = call.attr(kMultiplier);
  call.cuda->each(
      t.elements, GVM_EACH(int64_t i) {
        const int64_t count = *count_at, g = gradient[i];  // the norm, of kScale
        if (kind == kValue && count > kMaxUpdateCount) {
          if (i == 0) report_scalar(fault, count);
          return;
        }
        const int64_t limit = multiplier * (kind == kScale ? 1 : count > 0 ? count : 0);
        const int64_t most = at_most_2_62(limit, shift), least = most > 1 ? most : 1;
        if (count <= 0 || (kind == kScale && count <= least)) {
          out[i] = g;
        } else if (kind == kValue) {
          const int64_t above = g > -most ? g : -most;
          out[i] = above < most ? above : most;
        } else {
          int64_t clamps = 0;
          out[i] = quotient_nearest(mul(g, least), from_int64(count), 64, &clamps);
        }
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_clip;
const Kernel cuda_kernel_clip = {run_clip, false, true, false};

}  // namespace gvm
