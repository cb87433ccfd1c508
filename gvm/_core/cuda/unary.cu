#include "cuda/kernel.h"

namespace gvm {

enum { kFunction, kDtype, kFractionBits, kRounding };

// By table: of the result for nearest, of 16 more bits and a Convert otherwise. A clamped entry
// stands for a value beyond any draw: times 2^16 it is clamped, and counted, there.
static Status run_unary(const Call& call) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const Rounding rounding = static_cast<Rounding>(call.attr(kRounding));
  const bool nearest = rounding == Rounding::nearest;
  const int bits = nearest ? dtype_bits(out.type.dtype) : 32;
  const DeviceTable table =
      call.cuda->unary_table(static_cast<int>(call.attr(kFunction)), x.type.fraction_bits,
                             out.type.fraction_bits + (nearest ? 0 : 16), bits);
  if (table.narrow == nullptr && table.wide == nullptr) return Status::ok;  // collect() says why
  const Site site = make_site(call, out, rounding, call.site);
  const int16_t* const from = x.as<int16_t>();
  const Cells to = cells(out);
  call.cuda->each(
      out.elements, GVM_EACH(int64_t i) {
        const uint16_t q = static_cast<uint16_t>(from[i]);
        const bool clamped = table.clamped != nullptr && table.clamped[q] != 0;
        if (!nearest) {
          to.set(i, site.convert(table.wide[q] * (clamped ? int64_t{65536} : int64_t{1}), 16, i));
          return;
        }
        if (clamped) count_clamps(site.clamps, 1);
        to.set(i, bits == 16 ? int64_t{table.narrow[q]} : int64_t{table.wide[q]});
      });
  return Status::ok;
}

extern const Kernel cuda_kernel_unary;
const Kernel cuda_kernel_unary = {run_unary, false, true, false};

}  // namespace gvm
