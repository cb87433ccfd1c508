#include "cuda/channel.h"

namespace gvm {

enum { kSum, kSquares, kDeltaSum, kProductSum, kCount, kScale, kX, kDelta };

// A channel with H and K.
struct ChannelDelta {
  ChannelTotals of;
  int64_t delta;
  Int128 product;
};

// Where the totals of channels are.
struct ChannelSums {
  ChannelRule rule;
  const int64_t *sums, *squares, *deltas, *products, *count;
  int fraction_bits;

  GVM_DEVICE_CODE ChannelDelta at(int64_t c) const {
    ChannelDelta d;
    d.of = channel_totals(rule, sums[c], squares[c], *count, fraction_bits);
    d.delta = within(deltas[c], d.of.count << kXBits);
    d.product = sub(mul(products[c], d.of.count), mul(d.of.sum, d.delta));
    return d;
  }
};

static void run_of_scale(const Call& call, const ChannelSums totals) {
  const Tensor& out = call.out[0];
  const int apart = out.type.fraction_bits - call.in[kDeltaSum].type.fraction_bits;
  const Site site =
      make_site(call, out, static_cast<Rounding>(call.attr(kGradRounding)), call.site);
  int64_t* const to = out.as<int64_t>();
  call.cuda->each(
      out.elements, GVM_EACH(int64_t c) {
        const ChannelDelta d = totals.at(c);
        const int places = d.of.root.shift + apart;
        const int up = places > 0 ? places : 0, down = places < 0 ? -places : 0;
        to[c] = within(site.quotient(shl(d.product, up), shl(from_int64(d.of.root.root), down), c),
                       most_total(d.of.count, apart));
      });
}

static void run_of_x(const Call& call, const ChannelSums totals) {
  const Type& to = call.out[0].type;
  const int formats = call.in[kX].type.fraction_bits + to.fraction_bits -
                      call.in[kDelta].type.fraction_bits - call.in[kScale].type.fraction_bits +
                      kLineBits;
  const int64_t channels = call.in[kSum].elements;
  const int most = most_shift(to.dtype);
  const Cells scale = cells(call.in[kScale]);
  ChannelLine* const lines = channel_lines(call, channels);
  call.cuda->each(
      channels, GVM_EACH(int64_t c) {
        const ChannelDelta d = totals.at(c);
        const UInt128 size = to_unsigned(is_negative(d.product) ? neg(d.product) : d.product);
        const int longer = bit_length(size) - bit_length(to_unsigned(d.of.whole)) + 1;
        const Slope slope = slope_of(mul(scale.get(c), d.of.count), d.of.root.shift + formats,
                                     d.of.root.root, most, longer > 0 ? longer : 0);
        const int64_t ratio = nearest_ratio(mul(d.product, slope.slope), d.of.whole);
        const int64_t slope_2 = -within(ratio, limit_max(32));
        const Int128 both = add(mul(slope.slope, d.delta), mul(slope_2, d.of.sum));
        const int64_t intercept = -nearest_ratio(both, from_int64(d.of.count));
        lines[c] = {slope.slope, slope_2, with_half(intercept, slope.shift), slope.shift};
      });
  run_lines(call, lines, channels, call.in[kDelta].as<int16_t>(), call.in[kX].as<int16_t>(),
            static_cast<Rounding>(call.attr(kGradRounding)));
}

static Status run_batch_normalize_grad(const Call& call) {
  const ChannelSums totals = {channel_rule(*call.attributes),     call.in[kSum].as<int64_t>(),
                              call.in[kSquares].as<int64_t>(),    call.in[kDeltaSum].as<int64_t>(),
                              call.in[kProductSum].as<int64_t>(), call.in[kCount].as<int64_t>(),
                              call.in[kSum].type.fraction_bits};
  call.attr(kChannelKind) == kOfX ? run_of_x(call, totals) : run_of_scale(call, totals);
  return Status::ok;
}

extern const Kernel cuda_kernel_batch_normalize_grad;
const Kernel cuda_kernel_batch_normalize_grad = {run_batch_normalize_grad};

}  // namespace gvm
