// What the steps of optimizers share: the count of examples lies on the device.
#pragma once

#include "cpu/moments.h"
#include "cuda/kernel.h"

namespace gvm {

// Calls step(i, count) for each element of the parameter, count being operand `count_at`. Where
// there are no examples, the first `results` operands are the results.
template <typename Step>
Status run_device_update(const Call& call, int results, int count_at, const Step step) {
  const int64_t* const counts = call.in[count_at].as<int64_t>();
  Fault* const fault = call.cuda->fault(call, Rule::most, kMaxUpdateCount);
  const Cells none = {nullptr, DType::i16};
  const Cells in0 = cells(call.in[0]), out0 = cells(call.out[0]);
  const Cells in1 = results > 1 ? cells(call.in[1]) : none;
  const Cells out1 = results > 1 ? cells(call.out[1]) : none;
  const Cells in2 = results > 2 ? cells(call.in[2]) : none;
  const Cells out2 = results > 2 ? cells(call.out[2]) : none;
  call.cuda->each(
      call.out[0].elements, GVM_EACH(int64_t i) {
        const int64_t count = *counts;
        if (count > 0 && count <= kMaxUpdateCount) {
          step(i, count);
          return;
        }
        if (count > 0 && i == 0) report_scalar(fault, count);
        out0.set(i, in0.get(i));
        if (results > 1) out1.set(i, in1.get(i));
        if (results > 2) out2.set(i, in2.get(i));
      });
  return Status::ok;
}

// A site of an update whose results have the type of operand `like`.
inline Site update_site(const Call& call, int like, Rounding rounding, uint32_t site) {
  return make_site(call, call.in[like], rounding, site);
}

// The mean gradient of a step at 8 more fraction bits than its moment, clamped to 8 more bits.
struct DeviceMean {
  int bits, up, down;
  int64_t* clamps;
  GVM_DEVICE_CODE int64_t operator()(int64_t total, int64_t count) const {
    int64_t clamped = 0;
    const int64_t mean =
        quotient_nearest(shl(from_int64(total), up), shl(from_int64(count), down), bits, &clamped);
    count_clamps(clamps, clamped);
    return mean;
  }
};

inline DeviceMean make_mean(const Call& call, const Tensor& total, const Type& moment) {
  const Rescale scale = rescale(total.type.fraction_bits, moment.fraction_bits + kFiner);
  return {dtype_bits(moment.dtype) + kFiner, scale.up, scale.down, call.cuda->counter(call.clamps)};
}

// w - numerator / divisor as element i, rounded once.
GVM_DEVICE_CODE int64_t updated(const Site& site, int64_t w, Int128 numerator, Int128 divisor,
                                int64_t i) {
  const uint32_t r = random_for_quotient(site.seed, site.site, site.step, site.rounding,
                                         static_cast<uint64_t>(site.index(i)));
  int64_t clamped = 0;
  const int64_t q = minus_quotient(w, numerator, divisor, site.rounding, r, site.bits, &clamped);
  count_clamps(site.clamps, clamped);
  return q;
}

}  // namespace gvm
