// What optimizer kernels share: the random words of a range, and quotients of many numerators, of
// 64 bits where a block of them fits, by one divisor.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>

#include "cpu/kernel.h"
#include "cpu/strided.h"
#include "random.h"

namespace gvm {

constexpr int64_t kUpdateBlock = 512;  // elements whose random words are drawn at once
// The limit of max_batch. With it every numerator and divisor of an update stays within 2^126.
constexpr int64_t kMaxUpdateCount = int64_t{1} << 22;

// Whether a count may be divided by; else fails. What is not positive leaves the parameters alone.
inline bool check_count(const Call& call, int64_t count) {
  if (count <= kMaxUpdateCount) return true;
  return call.error->fail(Status::bad_input, "%s: count must be at most 2^22, received %lld",
                          call.op->name, static_cast<long long>(count));
}

// What an update by no examples does: its first operands are its results.
inline void keep_operands(const Call& call, int results) {
  for (int i = 0; i < results; ++i) {
    const Tensor& t = call.in[i];
    std::memcpy(call.out[i].data, t.data,
                static_cast<size_t>(t.elements) * static_cast<size_t>(dtype_bytes(t.type.dtype)));
  }
}

// An update by the count that operand `count_at` holds: step(w, v, count) with zeros of the types
// of the first two operands, of which the second may be ignored; `results` operands are kept where
// there are no examples.
template <typename Step>
Status run_update(const Call& call, int results, int count_at, Step step) {
  const int64_t count = *call.in[count_at].as<int64_t>();
  if (!check_count(call, count)) return Status::bad_input;
  if (count <= 0) {
    keep_operands(call, results);
    return Status::ok;
  }
  with_narrow(call.in[0].type.dtype, [&](auto w) {
    with_narrow(call.in[1].type.dtype, [&](auto v) { step(w, v, count); });
  });
  return Status::ok;
}

// Draws r of 32 bits for the elements [first, first + n) of the logical tensor at a site;
// n <= kUpdateBlock. For nearest, nothing.
class UpdateDraws {
 public:
  const uint32_t* draw(const Call& call, Rounding rounding, uint32_t site, int64_t first,
                       int64_t n) {
    static constexpr uint32_t kUnused[kUpdateBlock] = {};
    if (rounding == Rounding::nearest) return kUnused;
    const uint64_t block = static_cast<uint64_t>(first) >> 2;
    const int64_t skip = first & 3;
    call.cpu->convert.random_blocks(call.seed, site, call.step, purpose_of(rounding), block,
                                    (skip + n + 3) / 4, words_);
    return words_ + skip;
  }

 private:
  uint32_t words_[kUpdateBlock + 8];
};

// The divisor count * 2^shift of a step; count >= 1, shift >= 0. `lanes` says that the vector
// kernels take it.
struct UpdateDivisor {
  UpdateDivisor(int64_t count, int shift)
      : wide(shl(from_int64(count), shift)),
        lanes(count < (int64_t{1} << 30) && shift <= 62),
        narrow{static_cast<uint32_t>(count), shift} {}
  Int128 wide;
  bool lanes;
  Divisor narrow;
};

// The least b with |x[i]| <= 2^b for all of n numbers.
template <typename T>
int largest_bits(const T* x, int64_t n) {
  T bits = 0;
  for (int64_t i = 0; i < n; ++i) bits |= static_cast<T>(x[i] ^ (x[i] >> (8 * sizeof(T) - 1)));
  return bit_length(static_cast<uint64_t>(bits));
}

// Calls f(begin, n, clamps) on blocks of at most kUpdateBlock elements, in parallel, and adds the
// clamps.
template <typename F>
void for_update_blocks(const Call& call, int64_t elements, F f) {
  std::atomic<int64_t> total{0};
  constexpr int64_t kTask = 16 * kUpdateBlock;
  static_assert(kTask >= kRangedElements, "what a sink takes is one task");
  for_ranges(call, elements, kTask, [&](int64_t begin, int64_t end) {
    int64_t clamps = 0;
    for (; begin < end; begin += kUpdateBlock) {
      f(begin, std::min(kUpdateBlock, end - begin), &clamps);
    }
    total += clamps;
  });
  *call.clamps += total;
}

}  // namespace gvm
