#include "op.h"

namespace gvm {

namespace {
enum { kKind, kMultiplier, kExponent, kFractionBits };
enum { kValue, kNorm, kScale };
constexpr int64_t kMostElements = int64_t{1} << 40;
}  // namespace

bool infer_clip(Check& check) {
  const int64_t kind = check.attr(kKind);
  const int given = static_cast<int>(check.in.size());
  for (int i = 0; i < given; ++i) {
    if (!check.require_dtype(i, {DType::i64}) || !check.require_shared(i)) return false;
  }
  const Type& count = check.in.back();
  if (!check.require_rank(given - 1, 0, 0)) return false;
  if (kind != kNorm && given != 2) {
    return check.fail(Status::bad_graph, "inputs must be one gradient and a scalar, received %d",
                      given);
  }
  if (kind != kScale && count.fraction_bits != 0) {
    return check.fail(Status::bad_type, "count must have 0 fraction bits, received %d",
                      count.fraction_bits);
  }
  if (kind != kNorm) {
    check.out[0] = check.in[0];
    return true;
  }
  const int64_t fraction_bits = check.attr(kFractionBits);
  int64_t elements = 0;
  for (int i = 0; i + 1 < given; ++i) {
    const Type& g = check.in[static_cast<size_t>(i)];
    const int64_t up = fraction_bits - g.fraction_bits;
    if (up > 62) {
      return check.fail(Status::bad_type,
                        "fraction_bits - F(gradient) must be at most 62, received %lld",
                        static_cast<long long>(up));
    }
    elements += g.elements_per_example();
    if (elements > kMostElements) {
      return check.fail(Status::bad_shape, "elements must be at most 2^40 in all, received %lld",
                        static_cast<long long>(elements));
    }
  }
  // The root of 2^40 squares of at most 2^62 each.
  return check.set_exact(0, {}, static_cast<int>(fraction_bits), uint64_t{1} << 51);
}

}  // namespace gvm
