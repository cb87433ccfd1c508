#include "cpu/batch_normalization.h"

namespace gvm {

namespace {

enum { kSum, kSquares, kDeltaSum, kProductSum, kCount, kScale, kX, kDelta };

// A channel with H and K.
struct ChannelDelta {
  ChannelTotals of;
  int64_t delta;
  Int128 product;
};

ChannelDelta channel_delta(const Call& call, int64_t c) {
  ChannelDelta d;
  d.of = channel_totals(channel_rule(*call.attributes), call.in[kSum].as<int64_t>()[c],
                        call.in[kSquares].as<int64_t>()[c], *call.in[kCount].as<int64_t>(),
                        call.in[kSum].type.fraction_bits);
  d.delta = within(call.in[kDeltaSum].as<int64_t>()[c], d.of.count << kXBits);
  d.product = sub(mul(call.in[kProductSum].as<int64_t>()[c], d.of.count), mul(d.of.sum, d.delta));
  return d;
}

void of_scale(const Call& call) {
  const Type& to = call.out[0].type;
  const int apart = to.fraction_bits - call.in[kDeltaSum].type.fraction_bits;
  const Rounding rounding = static_cast<Rounding>(call.attr(kGradRounding));
  const IndexMap index = index_map(to, call.batch);
  int64_t clamps = 0;
  for (int64_t c = 0; c < call.out[0].elements; ++c) {
    const ChannelDelta d = channel_delta(call, c);
    const int places = d.of.root.shift + apart;
    const uint32_t r = random_for_quotient(call.seed, call.site, call.step, rounding,
                                           static_cast<uint64_t>(index(c)));
    const int64_t q =
        quotient(shl(d.product, std::max(0, places)),
                 shl(from_int64(d.of.root.root), std::max(0, -places)), rounding, r, 64, &clamps);
    call.out[0].as<int64_t>()[c] = within(q, most_total(d.of.count, apart));
  }
  *call.clamps += clamps;
}

void of_x(const Call& call) {
  const Type& to = call.out[0].type;
  const int formats = call.in[kX].type.fraction_bits + to.fraction_bits -
                      call.in[kDelta].type.fraction_bits - call.in[kScale].type.fraction_bits +
                      kLineBits;
  Lines lines(call.in[kSum].elements, true);
  for (int64_t c = 0; c < call.in[kSum].elements; ++c) {
    const ChannelDelta d = channel_delta(call, c);
    const UInt128 size = to_unsigned(is_negative(d.product) ? neg(d.product) : d.product);
    const int wider = std::max(0, bit_length(size) - bit_length(to_unsigned(d.of.whole)) + 1);
    const Slope slope =
        slope_of(mul(integer_at(call.in[kScale], c), d.of.count), d.of.root.shift + formats,
                 d.of.root.root, most_shift(to.dtype), wider);
    const int64_t ratio = nearest_ratio(mul(d.product, slope.slope), d.of.whole);
    const int64_t slope_2 = -within(ratio, limit_max(32));
    const Int128 both = add(mul(slope.slope, d.delta), mul(slope_2, d.of.sum));
    lines.set(c, slope, slope_2, -nearest_ratio(both, from_int64(d.of.count)));
  }
  lines.run(call, call.in[kDelta].as<int16_t>(), call.in[kX].as<int16_t>(),
            static_cast<Rounding>(call.attr(kGradRounding)));
}

Status run(const Call& call) {
  call.attr(kChannelKind) == kOfX ? of_x(call) : of_scale(call);
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_batch_normalize_grad = {run};

}  // namespace gvm
