#include "cpu/binary.h"
#include "cpu/quotient.h"

namespace gvm {

namespace {

enum { kDirection, kDtype, kFractionBits, kRounding };
enum Direction { kRounded, kDown, kTowardsZero, kNearest };

// Both sides within 2^62, d > 0.
int64_t narrow_quotient(int64_t n, int64_t d, Direction direction, bool stochastic, uint32_t r) {
  if (direction == kRounded || direction == kNearest) return quotient_lane(n, d, stochastic, r);
  const int64_t truncated = n / d;
  return direction == kDown && n % d < 0 ? truncated - 1 : truncated;
}

// Any sides, d > 0.
int64_t wide_quotient(Int128 n, Int128 d, Direction direction, Rounding rounding, uint32_t r,
                      int bits, int64_t* clamps) {
  if (direction == kRounded || direction == kNearest)
    return quotient(n, d, rounding, r, bits, clamps);
  const bool turned = direction == kTowardsZero && is_negative(n);
  const Int128 whole = divide_floor(turned ? neg(n) : n, d).quotient;
  return clamp_and_count(turned ? neg(whole) : whole, bits, clamps);
}

struct Division {
  QuotientSite site;
  Direction direction;

  // a and b with their steps, 0 or 1; the words of the results where they are drawn.
  template <typename A, typename B, typename Out>
  int64_t row(const A* a, int64_t step_a, const B* b, int64_t step_b, int64_t count,
              const uint32_t* words, Out* out) const {
    constexpr int64_t kLimit = int64_t{1} << 62;
    constexpr int kBits = 8 * static_cast<int>(sizeof(Out));
    const bool stochastic = words != nullptr;
    const int64_t most_n = site.up < 62 ? kLimit >> site.up : 0;
    const int64_t most_d = site.down < 62 ? kLimit >> site.down : 0;
    int64_t clamps = 0;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t n = a[i * step_a], d = b[i * step_b];
      const uint32_t word = stochastic ? words[i] : 0;
      if (d == 0) {
        out[i] = static_cast<Out>(quotient_without_divisor(from_int64(n), kBits, &clamps));
      } else if (n <= most_n && n >= -most_n && d <= most_d && d >= -most_d) {
        const uint64_t shifted_n = static_cast<uint64_t>(d < 0 ? -n : n) << std::min(site.up, 63);
        const uint64_t shifted_d = static_cast<uint64_t>(d < 0 ? -d : d) << std::min(site.down, 63);
        const int64_t q =
            narrow_quotient(static_cast<int64_t>(shifted_n), static_cast<int64_t>(shifted_d),
                            direction, stochastic, word);
        out[i] = clamp_lane<Out>(q, &clamps);
      } else {
        const Int128 wide_n = shl(from_int64(d < 0 ? -n : n), site.up);
        const Int128 wide_d = shl(from_int64(d < 0 ? -d : d), site.down);
        out[i] = static_cast<Out>(
            wide_quotient(wide_n, wide_d, direction, site.rounding, word, kBits, &clamps));
      }
    }
    return clamps;
  }
};

template <typename A, typename B, typename Out>
int64_t divide_range(const Call& call, const Division& division, const Nest<2>& nest, const A* a,
                     const B* b, Out* out, int64_t begin, int64_t end) {
  const IndexMap index = index_map(call.out[0].type, call.batch);
  const QuotientSite& s = division.site;
  const bool draws = s.rounding != Rounding::nearest;
  const int64_t step_a = nest.inner_stride(0), step_b = nest.inner_stride(1);
  int64_t clamps = 0;
  uint32_t words[kQuotients + 8];
  for_rows(nest, begin, end, [&](int64_t element, const int64_t* offsets, int64_t length) {
    for (int64_t done = 0; done < length;) {
      const int64_t at = element + done;
      const int64_t n = std::min({length - done, kQuotients, index.run - at % index.run});
      const uint64_t first = static_cast<uint64_t>(index(at));
      if (draws) {
        const uint64_t last = first + static_cast<uint64_t>(n) - 1;
        call.cpu->convert.random_blocks(s.seed, s.site, s.step, purpose_of(s.rounding), first >> 2,
                                        static_cast<int64_t>((last >> 2) - (first >> 2) + 1),
                                        words);
      }
      clamps += division.row(a + offsets[0] + done * step_a, step_a, b + offsets[1] + done * step_b,
                             step_b, n, draws ? words + (first & 3) : nullptr, out + at);
      done += n;
    }
  });
  return clamps;
}

Status run(const Call& call) {
  const Tensor &a = call.in[0], &b = call.in[1], &out = call.out[0];
  Division division;
  division.direction = static_cast<Direction>(call.attr(kDirection));
  const bool nearest = division.direction != kRounded;
  division.site = make_quotient_site(
      call, nearest ? Rounding::nearest : static_cast<Rounding>(call.attr(kRounding)),
      a.type.fraction_bits - b.type.fraction_bits);
  const Nest<2> nest = binary_nest(call);
  std::atomic<int64_t> clamps{0};
  with_integer(a.type.dtype, [&](auto zero_a) {
    with_narrow(b.type.dtype, [&](auto zero_b) {
      with_narrow(out.type.dtype, [&](auto zero_out) {
        for_ranges(call, out.elements, kGrain / 8, [&](int64_t begin, int64_t end) {
          clamps +=
              divide_range(call, division, nest, a.as<decltype(zero_a)>(), b.as<decltype(zero_b)>(),
                           out.as<decltype(zero_out)>(), begin, end);
        });
      });
    });
  });
  *call.clamps += clamps;
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_div = {run};

}  // namespace gvm
