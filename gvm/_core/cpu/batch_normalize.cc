#include "cpu/batch_normalization.h"

namespace gvm {

namespace {

struct Affine {
  int64_t scale, shift;
  int of_scale, of_shift;
};

Affine affine_at(const Call& call, int scale, int64_t channel) {
  const Tensor &a = call.in[scale], &b = call.in[scale + 1];
  return {integer_at(a, channel), integer_at(b, channel), a.type.fraction_bits,
          b.type.fraction_bits};
}

// A line through scale and shift, whose slope is scale * count * 2^places / root before formats;
// offset(slope, shift of the line) is what the mean takes away.
template <typename Offset>
void set_line(const Call& call, int64_t channel, const Affine& affine, int64_t count, int places,
              uint32_t root, Lines* lines, Offset offset) {
  const Type& to = call.out[0].type;
  const int wide = places + to.fraction_bits - affine.of_scale + kLineBits;
  const Slope slope = slope_of(mul(affine.scale, count), wide, root, most_shift(to.dtype), 0);
  const int64_t start =
      at_places(affine.shift, to.fraction_bits - affine.of_shift + kLineBits + slope.shift);
  lines->set(channel, slope, 0, start - offset(slope.slope));
}

void in_training(const Call& call, Lines* lines) {
  const int64_t* sums = call.in[1].as<int64_t>();
  const int64_t* squares = call.in[2].as<int64_t>();
  const int64_t count = *call.in[3].as<int64_t>();
  const ChannelRule rule = channel_rule(*call.attributes);
  for (int64_t c = 0; c < call.in[1].elements; ++c) {
    const ChannelTotals of =
        channel_totals(rule, sums[c], squares[c], count, call.in[1].type.fraction_bits);
    set_line(
        call, c, affine_at(call, 4, c), of.count, of.root.shift, of.root.root, lines,
        [&](int64_t slope) { return nearest_ratio(mul(slope, of.sum), from_int64(of.count)); });
  }
}

void in_use(const Call& call, Lines* lines) {
  const Tensor &mean = call.in[1], &variance = call.in[2];
  const int fx = call.in[0].type.fraction_bits, apart = mean.type.fraction_bits - fx;
  const int places = 30 + (variance.type.fraction_bits & 1);
  const int h = (variance.type.fraction_bits + places) / 2;
  const UInt128 epsilon = channel_epsilon(channel_rule(*call.attributes), 1, 2 * h);
  for (int64_t c = 0; c < mean.elements; ++c) {
    const int64_t v = std::max<int64_t>(0, integer_at(variance, c)), m = integer_at(mean, c);
    const ChannelRoot of = channel_root(add(shl(from_int64(v), places), to_signed(epsilon)));
    set_line(call, c, affine_at(call, 3, c), 1, of.shift + h - fx, of.root, lines,
             [&](int64_t slope) {
               int64_t clamps = 0;
               if (apart <= 0) {
                 const int64_t raised = shift_left_saturating(m, apart, 64, &clamps);
                 return slope * within(raised, int64_t{1} << kXBits);
               }
               const int64_t most = int64_t{1} << (kXBits + std::min(apart, 40));
               return round_nearest(slope * within(m, most), apart);
             });
  }
}

// A step of a running mean or variance, one quotient for each channel.
void running(const Call& call, bool variance) {
  const Tensor &held = call.in[0], &sums = call.in[1];
  const ChannelRule rule = channel_rule(*call.attributes);
  const int64_t* squares = call.in[2].as<int64_t>();
  const int64_t count = *call.in[3].as<int64_t>(), keep = call.attr(kKeep);
  const int64_t rest = (int64_t{1} << kKeepBits) - keep;
  const int up = held.type.fraction_bits - (variance ? 2 : 1) * sums.type.fraction_bits;
  const Rounding rounding = static_cast<Rounding>(call.attr(kBatchRounding));
  const int bits = dtype_bits(call.out[0].type.dtype);
  int64_t clamps = 0;
  const IndexMap index = index_map(call.out[0].type, call.batch);
  for (int64_t c = 0; c < held.elements; ++c) {
    const ChannelTotals of =
        channel_totals(rule, sums.as<int64_t>()[c], squares[c], count, sums.type.fraction_bits);
    Int128 divisor = from_int64(of.count);
    if (variance) {
      const int64_t other = of.count - (call.attr(kUnbiased) != 0 ? 1 : 0);
      divisor = other == 0 ? from_int64(1) : mul(of.count, other);
    }
    const Int128 now = variance ? of.spread : from_int64(of.sum);
    const Int128 kept = mul(mul(divisor, integer_at(held, c)), keep);
    const Int128 sum = add(shl(kept, std::max(0, -up)), shl(mul(now, rest), std::max(0, up)));
    const uint32_t r = random_for_quotient(call.seed, call.site, call.step, rounding,
                                           static_cast<uint64_t>(index(c)));
    const int64_t q =
        quotient(sum, shl(divisor, kKeepBits + std::max(0, -up)), rounding, r, bits, &clamps);
    if (bits == 16) {
      call.out[0].as<int16_t>()[c] = static_cast<int16_t>(q);
    } else {
      call.out[0].as<int32_t>()[c] = static_cast<int32_t>(q);
    }
  }
  *call.clamps += clamps;
}

Status run(const Call& call) {
  const int64_t kind = call.attr(kChannelKind);
  if (kind == kRunningMean || kind == kRunningVariance) {
    running(call, kind == kRunningVariance);
    return Status::ok;
  }
  Lines lines(call.in[1].elements, false);
  kind == kInTraining ? in_training(call, &lines) : in_use(call, &lines);
  lines.run(call, call.in[0].as<int16_t>(), nullptr,
            static_cast<Rounding>(call.attr(kBatchRounding)));
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_batch_normalize = {run};

}  // namespace gvm
