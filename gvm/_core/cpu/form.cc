#include "cpu/form.h"

#include <algorithm>

#include "cpu/linear.h"
#include "cpu/panels.h"
#include "hash.h"

namespace gvm {

namespace {

// Weights as digits that products of 16-bit numbers take: balanced, kDigits of each number.
constexpr int kDigitBits = 13, kDigits = 5, kColumns = 2 * kDigits;
constexpr int64_t kLinesHeld = 4096;
static_assert(kDigitBits * kDigits > kPrimeBits, "and a sign");

void write_digits(uint64_t x, int16_t* to) {
  constexpr uint64_t kRadix = uint64_t{1} << kDigitBits;
  for (int i = 0; i < kDigits; ++i) {
    const uint64_t digit = x % kRadix;
    const bool high = digit >= kRadix / 2;
    to[i] = static_cast<int16_t>(static_cast<int64_t>(digit) - (high ? int64_t{kRadix} : 0));
    x = (x >> kDigitBits) + (high ? 1 : 0);
  }
}

uint64_t read_digits(const int64_t* sums) {
  uint64_t x = 0;
  for (int i = kDigits; i-- > 0;) x = field_add(field_shl(x, kDigitBits), field_of(sums[i]));
  return x;
}

void store64(uint64_t x, uint8_t* to) {
  for (int i = 0; i < 8; ++i) to[i] = static_cast<uint8_t>(x >> (8 * i));
}

uint64_t load64(const uint8_t* from) {
  uint64_t x = 0;
  for (int i = 0; i < 8; ++i) x |= uint64_t{from[i]} << (8 * i);
  return x;
}

}  // namespace

Weights::Weights(const uint8_t key[kKeyBytes], uint32_t node, const Tensor& result)
    : rank(result.type.rank) {
  std::vector<uint8_t> bytes;
  for (int i = 0; i < rank; ++i) {
    dims[i] = result.dims[i];
    const size_t count = static_cast<size_t>(dims[i]);
    Blake3 draw;
    uint8_t where[16];
    store64(node, where);
    store64(static_cast<uint64_t>(i), where + 8);
    draw.update("gvm.check.weights.v1\n", 21);
    draw.update(key, kKeyBytes);
    draw.update(where, sizeof where);
    bytes.resize(16 * count);
    draw.finalize(bytes.data(), bytes.size());
    const uint64_t mask = (uint64_t{1} << (i + 1 == rank ? kColumnBits : kAxisBits)) - 1;
    axis[i].resize(count);
    for (size_t e = 0; e < count; ++e) {
      axis[i][e] = {load64(&bytes[16 * e]) & mask, load64(&bytes[16 * e + 8]) & mask};
    }
  }
}

RowWeights::RowWeights(const Weights& weights, int64_t row) : w_(weights) {
  for (int i = w_.rank - 1; i-- > 0;) {
    index_[i] = row % w_.dims[i];
    row /= w_.dims[i];
  }
  multiply_outer();
}

void RowWeights::multiply_outer() {
  outer_ = {1, 1};
  for (int i = 0; i + 2 < w_.rank; ++i) {
    outer_ = outer_ * w_.axis[i][static_cast<size_t>(index_[i])];
  }
}

Pair RowWeights::next() {
  int i = w_.rank - 2;
  const Pair weight = outer_ * w_.axis[i][static_cast<size_t>(index_[i])];
  if (++index_[i] < w_.dims[i]) return weight;
  while (i > 0 && index_[i] == w_.dims[i]) {
    index_[i--] = 0;
    ++index_[i];
  }
  // Behind the last row there is none.
  if (index_[0] < w_.dims[0]) multiply_outer();
  return weight;
}

void weigh_lines(const Call& call, const int16_t* data, int64_t line_stride, int64_t term_stride,
                 int64_t lines, int64_t terms, const Pair* weights, Pair* sums) {
  std::vector<int16_t> digits(static_cast<size_t>(terms * kColumns));
  for (int64_t k = 0; k < terms; ++k) {
    write_digits(weights[k].first, &digits[static_cast<size_t>(k * kColumns)]);
    write_digits(weights[k].second, &digits[static_cast<size_t>(k * kColumns + kDigits)]);
  }
  std::vector<int64_t> made(static_cast<size_t>(std::min(lines, kLinesHeld) * kColumns));
  for (int64_t first = 0; first < lines; first += kLinesHeld) {
    const int64_t count = std::min(kLinesHeld, lines - first);
    const StridedLines rows = {data + first * line_stride, line_stride, term_stride};
    const StridedLines columns = {digits.data(), 1, kColumns};
    Gemm job;
    job.m = count;
    job.n = kColumns;
    job.k = terms;
    job.a = strided_lines(rows);
    job.b = strided_lines(columns);
    job.epilogue.data = made.data();
    job.epilogue.rows.step = kColumns;
    gemm(job, *call.cpu, *call.threads, *call.scratch);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t* const of_line = &made[static_cast<size_t>(i * kColumns)];
      sums[first + i] = {read_digits(of_line), read_digits(of_line + kDigits)};
    }
  }
}

namespace {

// Sums on their way through the epilogue of one call, and into the form.
class Claimed {
 public:
  Claimed(const Call& call, const Tensor& exact, const Claim& claim, const Weights& weights)
      : call_(call),
        to_(epilogue_of(call)),
        claim_(claim),
        weights_(weights),
        bound_(static_cast<int64_t>(exact.type.bound)),
        columns_(exact.dims[exact.type.rank - 1]),
        rows_(exact.elements / std::max<int64_t>(1, columns_)) {
    const std::vector<Pair>& last = weights.axis[weights.rank - 1];
    for (std::vector<int32_t>& half : halves_) half.resize(last.size());
    constexpr uint64_t kMask = (uint64_t{1} << kHalfBits) - 1;
    for (size_t j = 0; j < last.size(); ++j) {
      halves_[0][j] = static_cast<int32_t>(last[j].first & kMask);
      halves_[1][j] = static_cast<int32_t>(last[j].first >> kHalfBits);
      halves_[2][j] = static_cast<int32_t>(last[j].second & kMask);
      halves_[3][j] = static_cast<int32_t>(last[j].second >> kHalfBits);
    }
    bias_.resize(to_.bias == nullptr ? 0 : last.size());
    for (size_t j = 0; j < bias_.size(); ++j) bias_[j] = bias_at(to_, static_cast<int64_t>(j));
  }

  // Takes all sums; false where one of them is beyond the bound.
  bool run(Pair* value) {
    const int64_t parts = std::min<int64_t>(std::max<int64_t>(rows_, 1), call_.threads->count());
    std::vector<Part> made(static_cast<size_t>(parts));
    call_.threads->parallel_for(parts, [&](int64_t i) {
      const Span rows = part(rows_, parts, i);
      take(rows, &made[static_cast<size_t>(i)]);
    });
    *value = {};
    bool within = true;
    for (const Part& p : made) {
      *value = *value + p.value;
      within = within && p.within;
      if (to_.clamps != nullptr) *to_.clamps += p.clamps;
    }
    return within;
  }

 private:
  static constexpr int64_t kHeld = 4096;
  static constexpr int64_t kTerms = 1024;  // times 2^31 times 2^kHalfBits stays below 2^63

  struct Part {
    Pair value;
    int64_t clamps = 0;
    bool within = true;
  };

  void take(Span rows, Part* to) const {
    const int64_t each = std::max<int64_t>(1, kHeld / std::max<int64_t>(1, columns_));
    std::vector<int64_t> held(static_cast<size_t>(std::min(each, rows.count) * columns_));
    RowWeights weights(weights_, rows.first);
    for (int64_t row = rows.first; row < rows.end(); row += each) {
      const int64_t count = std::min(each, rows.end() - row);
      for (int64_t i = 0; i < count; ++i) {
        Pair sum;
        to->within = weigh_row((row + i) * columns_, &sum) && to->within;
        to->value = to->value + sum * weights.next();
      }
      if (!to->within) return;
      to->clamps += put(row * columns_, count, held.data());
    }
  }

  bool weigh_row(int64_t first, Pair* sum) const {
    int64_t low = 0, high = 0;
    for (int64_t done = 0; done < columns_; done += kTerms) {
      const int64_t n = std::min(kTerms, columns_ - done);
      const int32_t* halves[4];
      for (size_t h = 0; h < 4; ++h) halves[h] = halves_[h].data() + done;
      int64_t range[2] = {0, 0};
      if (!claim_.wide) {
        const int32_t* const sums = static_cast<const int32_t*>(claim_.sums) + first + done;
        *sum = *sum + weigh(sums, halves, n, range);
      } else {
        int32_t parts[2][kTerms];
        const int64_t* const sums = static_cast<const int64_t*>(claim_.sums) + first + done;
        call_.cpu->weigh.split(sums, n, parts[0], parts[1], range);
        int64_t unused[2];
        const Pair upper = weigh(parts[1], halves, n, unused);
        *sum = *sum + weigh(parts[0], halves, n, unused);
        *sum = *sum + Pair{field_shl(upper.first, 32), field_shl(upper.second, 32)};
      }
      low = std::min(low, range[0]);
      high = std::max(high, range[1]);
    }
    return low >= -bound_ && high <= bound_;
  }

  Pair weigh(const int32_t* c, const int32_t* const halves[4], int64_t n, int64_t range[2]) const {
    int64_t sums[4];
    call_.cpu->weigh.run(c, halves, n, sums, range);
    const auto join = [](int64_t lower, int64_t upper) {
      return field_add(field_of(lower), field_shl(field_of(upper), kHalfBits));
    };
    return {join(sums[0], sums[1]), join(sums[2], sums[3])};
  }

  // Whole rows from element `first` on through the epilogue; returns the clamps.
  int64_t put(int64_t first, int64_t rows, int64_t* held) const {
    const int64_t n = rows * columns_;
    const int32_t* const narrow = static_cast<const int32_t*>(claim_.sums) + first;
    const int64_t* const wide = static_cast<const int64_t*>(claim_.sums) + first;
    if (bias_.empty() && claim_.wide) {
      return put_sums(to_, *call_.cpu, wide, DType::i64, n, first);
    }
    if (bias_.empty() && to_.sink == nullptr && to_.type != DType::i64) {
      return put_sums(to_, *call_.cpu, narrow, DType::i32, n, first);
    }
    if (claim_.wide) {
      std::copy(wide, wide + n, held);
    } else {
      call_.cpu->gemm.widen(narrow, 0, held, 0, 1, n, 0, false);
    }
    for (int64_t i = 0; i < rows && !bias_.empty(); ++i) {
      call_.cpu->rows.add(bias_.data(), columns_, held + i * columns_);
    }
    return put_sums(to_, *call_.cpu, held, DType::i64, n, first);
  }

  const Call& call_;
  const Epilogue to_;
  const Claim& claim_;
  const Weights& weights_;
  const int64_t bound_, columns_, rows_;
  std::vector<int32_t> halves_[4];
  std::vector<int64_t> bias_;
};

// Executes the product and finds the first element in which the claim is wrong.
Status locate(const Kernel& kernel, const Call& call, const Tensor& exact, const Claim& claim,
              Finding* finding) {
  std::vector<int64_t> sums(static_cast<size_t>(exact.elements));
  Tensor out = exact;
  out.data = sums.data();
  Call plain = call;
  plain.out = &out;
  plain.fused = nullptr;
  plain.sink = nullptr;
  plain.kept = nullptr;
  plain.routes = nullptr;
  const Status status = kernel.run(plain);
  if (status != Status::ok) return status;
  for (int64_t e = 0; e < exact.elements; ++e) {
    const int64_t said = claim.wide ? static_cast<const int64_t*>(claim.sums)[e]
                                    : static_cast<const int32_t*>(claim.sums)[e];
    if (said == sums[static_cast<size_t>(e)]) continue;
    *finding = {true, e, said, sums[static_cast<size_t>(e)]};
    return Status::ok;
  }
  call.error->fail(Status::internal, "%s: a true claim was refused", call.op->name);
  return call.error->status;
}

}  // namespace

Status run_claimed(const Kernel& kernel, const Call& call, const Tensor& exact, const Claim& claim,
                   const uint8_t key[kKeyBytes], uint32_t node, bool* checked, Finding* finding) {
  // Two numbers within the bound differ by less than the prime.
  const bool apart = exact.type.bound <= kPrime / 4 && exact.type.rank >= 2;
  Pair expected, value;
  *checked = false;
  if (apart && kernel.form != nullptr) {
    const Weights weights(key, node, exact);
    *checked = kernel.form(call, weights, &expected);
    if (*checked) {
      if (Claimed(call, exact, claim, weights).run(&value) && value == expected) return Status::ok;
      return locate(kernel, call, exact, claim, finding);
    }
  }
  return kernel.run(call);
}

}  // namespace gvm
