// Channels of batch normalisation: a line for each, and rows along them, rounded once.
#pragma once

#include "cpu/batch_normalization.h"
#include "cuda/kernel.h"

namespace gvm {

// (slope * x + slope_2 * x_2 + intercept) * 2^-shift, rounded down, at kLineBits more bits.
struct ChannelLine {
  int64_t slope, slope_2, intercept;
  int shift;
};

inline ChannelLine* channel_lines(const Call& call, int64_t channels) {
  return static_cast<ChannelLine*>(
      call.cuda->scratch(0, channels * static_cast<int64_t>(sizeof(ChannelLine))));
}

// out = the lines of x, and of x_2 where it is given, as the site rounds them.
inline void run_lines(const Call& call, const ChannelLine* lines, int64_t channels,
                      const int16_t* x, const int16_t* x_2, Rounding rounding) {
  const Tensor& out = call.out[0];
  const Site site = make_site(call, out, rounding, call.site);
  const Cells to = cells(out);
  call.cuda->each(
      out.elements, GVM_EACH(int64_t i) {
        const ChannelLine line = lines[i % channels];
        int64_t exact = line.slope * x[i] + line.intercept;
        if (x_2 != nullptr) exact += line.slope_2 * x_2[i];
        to.set(i, site.convert(exact >> line.shift, kLineBits, i));
      });
}

// The scale and shift of a line, and where it crosses: slope scale * count * 2^places / root before
// formats.
struct DeviceAffine {
  Cells scale, shift;
  int of_scale, of_shift, to, most;

  GVM_DEVICE_CODE Slope slope(int64_t channel, int64_t count, int places, uint32_t root) const {
    return slope_of(mul(scale.get(channel), count), places + to - of_scale + kLineBits, root, most,
                    0);
  }
  GVM_DEVICE_CODE ChannelLine line(int64_t channel, const Slope& s, int64_t offset) const {
    const int64_t start = at_places(shift.get(channel), to - of_shift + kLineBits + s.shift);
    return {s.slope, 0, with_half(start - offset, s.shift), s.shift};
  }
};

inline DeviceAffine make_affine(const Call& call, int scale) {
  const Tensor &a = call.in[scale], &b = call.in[scale + 1];
  const Type& to = call.out[0].type;
  return {cells(a),
          cells(b),
          a.type.fraction_bits,
          b.type.fraction_bits,
          to.fraction_bits,
          most_shift(to.dtype)};
}

}  // namespace gvm
