#include "cuda/channel.h"

namespace gvm {

static void run_in_training(const Call& call, ChannelLine* lines) {
  const int64_t *const sums = call.in[1].as<int64_t>(), *const squares = call.in[2].as<int64_t>();
  const int64_t* const count = call.in[3].as<int64_t>();
  const ChannelRule rule = channel_rule(*call.attributes);
  const int fraction_bits = call.in[1].type.fraction_bits;
  const DeviceAffine affine = make_affine(call, 4);
  call.cuda->each(
      call.in[1].elements, GVM_EACH(int64_t c) {
        const ChannelTotals of = channel_totals(rule, sums[c], squares[c], *count, fraction_bits);
        const Slope slope = affine.slope(c, of.count, of.root.shift, of.root.root);
        lines[c] =
            affine.line(c, slope, nearest_ratio(mul(slope.slope, of.sum), from_int64(of.count)));
      });
}

static void run_in_use(const Call& call, ChannelLine* lines) {
  const Tensor &mean = call.in[1], &variance = call.in[2];
  const int fx = call.in[0].type.fraction_bits, apart = mean.type.fraction_bits - fx;
  const int places = 30 + (variance.type.fraction_bits & 1);
  const int h = (variance.type.fraction_bits + places) / 2;
  const Int128 epsilon = to_signed(channel_epsilon(channel_rule(*call.attributes), 1, 2 * h));
  const Cells means = cells(mean), variances = cells(variance);
  const DeviceAffine affine = make_affine(call, 3);
  call.cuda->each(
      mean.elements, GVM_EACH(int64_t c) {
        const int64_t v = variances.get(c) > 0 ? variances.get(c) : 0, m = means.get(c);
        const ChannelRoot of = channel_root(add(shl(from_int64(v), places), epsilon));
        const Slope slope = affine.slope(c, 1, of.shift + h - fx, of.root);
        int64_t clamps = 0, offset = 0;
        if (apart <= 0) {
          const int64_t raised = shift_left_saturating(m, apart, 64, &clamps);
          offset = slope.slope * within(raised, int64_t{1} << kXBits);
        } else {
          const int64_t most = int64_t{1} << (kXBits + (apart < 40 ? apart : 40));
          offset = round_nearest(slope.slope * within(m, most), apart);
        }
        lines[c] = affine.line(c, slope, offset);
      });
}

// A step of a running mean or variance, one quotient for each channel.
static void run_running(const Call& call, bool variance) {
  const Tensor &held = call.in[0], &totals = call.in[1];
  const int64_t *const sums = totals.as<int64_t>(), *const squares = call.in[2].as<int64_t>();
  const int64_t* const count = call.in[3].as<int64_t>();
  const ChannelRule rule = channel_rule(*call.attributes);
  const int64_t keep = call.attr(kKeep), rest = (int64_t{1} << kKeepBits) - keep;
  const int fraction_bits = totals.type.fraction_bits;
  const Rescale scale = rescale((variance ? 2 : 1) * fraction_bits, held.type.fraction_bits);
  const int64_t less = call.attr(kUnbiased) != 0 ? 1 : 0;
  const Site site =
      make_site(call, call.out[0], static_cast<Rounding>(call.attr(kBatchRounding)), call.site);
  const Cells before = cells(held), out = cells(call.out[0]);
  call.cuda->each(
      held.elements, GVM_EACH(int64_t c) {
        const ChannelTotals of = channel_totals(rule, sums[c], squares[c], *count, fraction_bits);
        Int128 divisor = from_int64(of.count);
        if (variance) {
          divisor = of.count == less ? from_int64(1) : mul(of.count, of.count - less);
        }
        const Int128 now = variance ? of.spread : from_int64(of.sum);
        const Int128 kept = mul(mul(divisor, before.get(c)), keep);
        const Int128 sum = add(shl(kept, scale.down), shl(mul(now, rest), scale.up));
        out.set(c, site.quotient(sum, shl(divisor, kKeepBits + scale.down), c));
      });
}

static Status run_batch_normalize(const Call& call) {
  const int64_t kind = call.attr(kChannelKind);
  if (kind == kRunningMean || kind == kRunningVariance) {
    run_running(call, kind == kRunningVariance);
    return Status::ok;
  }
  const int64_t channels = call.in[1].elements;
  ChannelLine* const lines = channel_lines(call, channels);
  kind == kInTraining ? run_in_training(call, lines) : run_in_use(call, lines);
  run_lines(call, lines, channels, call.in[0].as<int16_t>(), nullptr,
            static_cast<Rounding>(call.attr(kBatchRounding)));
  return Status::ok;
}

extern const Kernel cuda_kernel_batch_normalize;
const Kernel cuda_kernel_batch_normalize = {run_batch_normalize};

}  // namespace gvm
