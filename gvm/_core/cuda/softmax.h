// Rows of logits through exponentials and quotients (numerics section 7).
#pragma once

#include "cpu/softmax.h"
#include "cuda/table.h"

namespace gvm {

// out = quotient((E_i - [i = label] * S) * 2^F', S) for all rows; labels may be null. First the
// largest and the sum of each row, then every element by itself.
inline Status run_softmax_rows(const Call& call, const int32_t* labels) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const int64_t n = x.dims[x.type.rank - 1], rows = x.elements / n;
  const Exponentials* const tables = call.cuda->exponentials(x.type.fraction_bits);
  if (tables == nullptr) return Status::ok;  // collect() says why
  const int64_t limit = exponential_limit(x.type.fraction_bits);
  const Site site = make_site(call, out, static_cast<Rounding>(call.attr(2)), call.site);
  const Rescale scale = rescale(0, out.type.fraction_bits);
  const Cells z = cells(x), to = cells(out);
  int64_t* const largest = static_cast<int64_t*>(call.cuda->scratch(0, rows * 8));
  int64_t* const sums = static_cast<int64_t*>(call.cuda->scratch(1, rows * 8));
  call.cuda->each(
      rows, GVM_EACH(int64_t row) {
        int64_t most = z.get(row * n), sum = 0;
        for (int64_t i = row * n + 1; i < (row + 1) * n; ++i) {
          const int64_t v = z.get(i);
          most = v > most ? v : most;
        }
        for (int64_t i = row * n; i < (row + 1) * n; ++i) {
          sum += exponential(*tables, most - z.get(i), limit);
        }
        largest[row] = most;
        sums[row] = sum;
      });
  call.cuda->each(
      x.elements, GVM_EACH(int64_t i) {
        const int64_t row = i / n, sum = sums[row];
        const bool chosen = labels != nullptr && labels[row] == i - row * n;
        const int64_t value =
            exponential(*tables, largest[row] - z.get(i), limit) - (chosen ? sum : 0);
        to.set(i, site.quotient(shl(from_int64(value), scale.up), shl(from_int64(sum), scale.down),
                                i));
      });
  return Status::ok;
}

}  // namespace gvm
