// The GEMM engine against plain 64-bit sums: every level, route, epilogue and kind of data.
#include "cpu/gemm.h"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "cpu/dispatch.h"
#include "threads.h"

namespace {

using gvm::CpuKernels;
using gvm::CpuLevel;
using gvm::DType;
using gvm::GemmRoute;
using gvm::Rounding;
using gvm::Threads;

int failures = 0;

class TestScratch : public gvm::Scratch {
 public:
  void* get(int slot, int64_t bytes) override {
    std::vector<char>& memory = slots_[slot];
    if (memory.size() < static_cast<size_t>(bytes) + 64) {
      memory.assign(static_cast<size_t>(bytes) + 64, 0x5c);
    }
    const uintptr_t start = reinterpret_cast<uintptr_t>(memory.data());
    return memory.data() + ((64 - start % 64) % 64);
  }

 private:
  std::vector<char> slots_[4];
};

// A generator for test data only.
struct Mix {
  uint64_t state;
  uint64_t next() {
    state += 0x9E3779B97F4A7C15u;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
};

enum class Data { small, medium, full, lowest, highest, mixed, large };

int16_t number(Mix& mix, Data data, int64_t i, int64_t k) {
  switch (data) {
    case Data::small:
      return static_cast<int16_t>(mix.below(2048) - 1024);
    case Data::medium:
      return static_cast<int16_t>(mix.below(16384) - 8192);
    case Data::large:  // such that sums of 8 products are proved, and of 32 are not
      return static_cast<int16_t>(mix.below(32768) - 16384);
    case Data::full:
      return static_cast<int16_t>(mix.next());
    case Data::lowest:
      return -32768;
    case Data::highest:
      return 32767;
    case Data::mixed:  // some lines small, some blocks of terms at their limit
      if (i % 3 == 0) return static_cast<int16_t>(mix.below(64) - 32);
      return static_cast<int16_t>(k / 256 % 2 == 0 ? -32768 : mix.below(2000) - 1000);
  }
  return 0;
}

struct Case {
  int64_t m, n, k;
  Data data;
  bool transposed_a, transposed_b;
  GemmRoute route;
  DType type;
  int bias_bits;  // 0: none
  int bias_shift;
  int shift;
  Rounding rounding;
  bool relu, accumulate;
  int64_t gap;  // between rows of the destination
};

void check(const CpuKernels& cpu, Threads& threads, TestScratch& scratch, const Case& c,
           uint64_t seed) {
  Mix mix{seed};
  std::vector<int16_t> a(static_cast<size_t>(c.m * c.k)), b(static_cast<size_t>(c.k * c.n));
  const int64_t a_row = c.transposed_a ? 1 : c.k, a_term = c.transposed_a ? c.m : 1;
  const int64_t b_column = c.transposed_b ? c.k : 1, b_term = c.transposed_b ? 1 : c.n;
  for (int64_t i = 0; i < c.m; ++i) {
    for (int64_t k = 0; k < c.k; ++k) {
      a[static_cast<size_t>(i * a_row + k * a_term)] = number(mix, c.data, i, k);
    }
  }
  for (int64_t j = 0; j < c.n; ++j) {
    for (int64_t k = 0; k < c.k; ++k) {
      b[static_cast<size_t>(j * b_column + k * b_term)] = number(mix, c.data, j, k);
    }
  }
  std::vector<int32_t> bias(static_cast<size_t>(c.n));
  std::vector<int16_t> bias16(static_cast<size_t>(c.n));
  for (size_t j = 0; j < bias.size(); ++j) {
    bias[j] = static_cast<int32_t>(static_cast<int64_t>(mix.next()) >>
                                   (64 - (c.bias_bits == 0 ? 1 : c.bias_bits)));
    bias16[j] = static_cast<int16_t>(bias[j]);
  }
  const int64_t row_elements = c.n + c.gap, first = c.gap;
  const size_t size = static_cast<size_t>(c.m * row_elements + first + 1);
  std::vector<int64_t> got64(size, 11), want64 = got64;
  std::vector<int32_t> got32(size, 11), want32 = got32;
  std::vector<int16_t> got16(size, 11), want16 = got16;

  const gvm::StridedLines a_lines = {a.data(), a_row, a_term};
  const gvm::StridedLines b_lines = {b.data(), b_column, b_term};
  gvm::Gemm job;
  job.m = c.m;
  job.n = c.n;
  job.k = c.k;
  job.a = gvm::strided_lines(a_lines);
  job.b = gvm::strided_lines(b_lines);
  job.route = c.route;
  gvm::Epilogue& to = job.epilogue;
  to.type = c.type;
  to.data = c.type == DType::i64   ? static_cast<void*>(got64.data())
            : c.type == DType::i32 ? static_cast<void*>(got32.data())
                                   : static_cast<void*>(got16.data());
  to.rows.first = first;
  to.rows.step = row_elements;
  to.accumulate = c.accumulate;
  if (c.bias_bits != 0) {
    to.bias_type = c.bias_bits <= 16 ? DType::i16 : DType::i32;
    to.bias = c.bias_bits <= 16 ? static_cast<const void*>(bias16.data()) : bias.data();
    to.bias_shift = c.bias_shift;
  }
  to.convert.shift = c.shift;
  to.convert.rounding = c.rounding;
  to.convert.seed = seed;
  to.convert.step = 3;
  to.convert.site = 17;
  to.convert.relu = c.relu;
  to.index = {2 * row_elements + 3, 5 * row_elements + 3, 1000};
  int64_t clamps = 5, want_clamps = 5;
  to.clamps = &clamps;
  gvm::gemm(job, cpu, threads, scratch);

  for (int64_t i = 0; i < c.m; ++i) {
    for (int64_t j = 0; j < c.n; ++j) {
      int64_t sum = 0;
      for (int64_t k = 0; k < c.k; ++k) {
        sum += int64_t{a[static_cast<size_t>(i * a_row + k * a_term)]} *
               b[static_cast<size_t>(j * b_column + k * b_term)];
      }
      if (c.bias_bits != 0) {
        sum += int64_t{bias[static_cast<size_t>(j)]} * (int64_t{1} << c.bias_shift);
      }
      const int64_t e = first + i * row_elements + j;
      const size_t at = static_cast<size_t>(e);
      if (c.type == DType::i64) {
        want64[at] = sum + (c.accumulate ? 11 : 0);
        continue;
      }
      const uint32_t r = gvm::random_for_convert(
          seed, 17, 3, c.rounding, c.shift,
          static_cast<uint64_t>(1000 + e / to.index.run * to.index.stride + e % to.index.run));
      const int bits = c.type == DType::i16 ? 16 : 32;
      int64_t q = gvm::convert(sum, c.shift, c.rounding, r, bits, &want_clamps);
      if (c.relu && q < 0) q = 0;
      want32[at] = static_cast<int32_t>(q);
      want16[at] = static_cast<int16_t>(q);
    }
  }
  const bool same = c.type == DType::i64   ? got64 == want64
                    : c.type == DType::i32 ? got32 == want32
                                           : got16 == want16;
  if (same && clamps == want_clamps) return;
  ++failures;
  std::printf(
      "gemm %s, %d threads: %lld x %lld x %lld, data %d, route %d, type %d, "
      "bias %d, shift %d, rounding %d: %s\n",
      gvm::cpu_level_name(cpu.level), threads.count(), static_cast<long long>(c.m),
      static_cast<long long>(c.n), static_cast<long long>(c.k), static_cast<int>(c.data),
      static_cast<int>(c.route), static_cast<int>(c.type), c.bias_bits, c.shift,
      static_cast<int>(c.rounding), same ? "clamps differ" : "differs");
}

void test_random_cases(const CpuKernels& cpu, Threads& threads, TestScratch& scratch) {
  Mix mix{11};
  const Data kinds[] = {Data::small,  Data::medium,  Data::full,
                        Data::lowest, Data::highest, Data::mixed};
  const DType types[] = {DType::i64, DType::i32, DType::i16};
  for (int round = 0; round < 400; ++round) {
    Case c = {};
    c.m = 1 + mix.below(round % 4 == 0 ? 140 : 30);
    c.n = 1 + mix.below(round % 3 == 0 ? 150 : 40);
    c.k = mix.below(round % 5 == 0 ? 700 : 60);
    c.data = kinds[mix.below(6)];
    c.transposed_a = mix.below(2) != 0;
    c.transposed_b = mix.below(2) != 0;
    c.route = static_cast<GemmRoute>(mix.below(3));
    c.type = types[mix.below(3)];
    c.bias_bits = mix.below(2) == 0 ? 0 : static_cast<int>(2 + mix.below(31));
    c.bias_shift = static_cast<int>(mix.below(16));
    c.shift = static_cast<int>(mix.below(40)) - 3;
    c.rounding = static_cast<Rounding>(mix.below(5));
    c.relu = mix.below(3) == 0;
    c.accumulate = mix.below(2) == 0;
    c.gap = mix.below(2) == 0 ? 0 : mix.below(9);
    check(cpu, threads, scratch, c, mix.next());
  }
}

// Shapes at the seams: panels, groups, blocks of terms, passes.
void test_shapes(const CpuKernels& cpu, Threads& threads, TestScratch& scratch) {
  const int64_t shapes[][3] = {{1, 2100, 70}, {8, 130, 200},  {2, 1025, 9},   {1, 1, 1},
                               {14, 32, 256}, {15, 33, 257},  {113, 16, 64},  {112, 128, 64},
                               {225, 17, 9},  {3, 300, 1025}, {29, 5, 2050},  {2, 3, 16384},
                               {2, 3, 16385}, {1, 40, 33000}, {70, 129, 1030}};
  for (const auto& shape : shapes) {
    for (const Data data : {Data::small, Data::full, Data::lowest, Data::mixed, Data::large}) {
      for (const DType type : {DType::i64, DType::i16}) {
        Case c = {};
        c.m = shape[0];
        c.n = shape[1];
        c.k = shape[2];
        c.data = data;
        c.transposed_b = c.n % 2 == 0;
        c.type = type;
        c.shift = 14;
        c.rounding = Rounding::forward;
        c.bias_bits = c.m % 2 == 0 ? 12 : 0;
        c.bias_shift = 4;
        check(cpu, threads, scratch, c, 99);
      }
    }
  }
}

// Sums of more than 32 bits that are converted to 16: every number of bits to discard, on both
// sides of what is jammed, with sums that clamp and sums that tie.
void test_jammed(const CpuKernels& cpu, Threads& threads, TestScratch& scratch) {
  for (int shift = -1; shift <= 34; ++shift) {
    for (const Data data : {Data::small, Data::medium, Data::lowest, Data::mixed, Data::large}) {
      for (const Rounding rounding : {Rounding::nearest, Rounding::forward}) {
        Case c = {};
        c.m = 15;
        c.n = 45;
        c.k = shift % 8 == 0 ? 2060 : 70;
        c.data = data;
        c.route = GemmRoute::wide;
        c.type = DType::i16;
        c.bias_bits = shift % 2 == 0 ? 20 : 0;
        c.bias_shift = 3;
        c.shift = shift;
        c.rounding = rounding;
        check(cpu, threads, scratch, c, static_cast<uint64_t>(shift + 7));
      }
    }
  }
  // Ties: sums are odd multiples of half a unit, or next to one.
  for (const int shift : {15, 16, 17, 22, 31}) {
    for (const int off : {0, 1, -1}) {
      std::vector<int16_t> a, b;
      const int64_t sum = (int64_t{5} << (shift - 1)) + off;
      // 2^14 * 2^k as often as needed, then what is left.
      for (int64_t left = sum; left != 0;) {
        const int64_t step = left >= (1 << 28) ? 1 << 14 : left >= (1 << 14) ? left >> 14 : left;
        a.push_back(static_cast<int16_t>(left >= (1 << 14) ? 1 << 14 : 1));
        b.push_back(static_cast<int16_t>(step));
        left -= int64_t{a.back()} * b.back();
      }
      int16_t got = -1;
      const int64_t k = static_cast<int64_t>(a.size());
      const gvm::StridedLines a_lines = {a.data(), k, 1}, b_lines = {b.data(), k, 1};
      gvm::Gemm job;
      job.m = job.n = 1;
      job.k = k;
      job.a = gvm::strided_lines(a_lines);
      job.b = gvm::strided_lines(b_lines);
      job.route = GemmRoute::wide;
      job.epilogue.type = DType::i16;
      job.epilogue.data = &got;
      job.epilogue.rows.step = 1;
      job.epilogue.convert.shift = shift;
      gvm::gemm(job, cpu, threads, scratch);
      const int want = off > 0 ? 3 : 2;  // 2.5 and its neighbours
      if (got != want) {
        ++failures;
        std::printf("gemm %s: a tie at shift %d: %d\n", gvm::cpu_level_name(cpu.level), shift, got);
      }
    }
  }
}

// Sums of 32 products that are not proved are cut finer before bytes are multiplied.
void test_finer(const CpuKernels& cpu, Threads& threads, TestScratch& scratch) {
  for (const int64_t k : {150, 1030}) {
    const int64_t m = 30, n = 70;
    Mix mix{5};
    std::vector<int16_t> a(static_cast<size_t>(m * k)), b(static_cast<size_t>(k * n));
    for (int16_t& x : a) x = number(mix, Data::large, 0, 0);
    for (int16_t& x : b) x = number(mix, Data::large, 0, 0);
    const gvm::StridedLines a_lines = {a.data(), k, 1}, b_lines = {b.data(), 1, n};
    std::vector<int64_t> got(static_cast<size_t>(m * n));
    gvm::RouteCounts routes;
    gvm::Gemm job;
    job.m = m;
    job.n = n;
    job.k = k;
    job.a = gvm::strided_lines(a_lines);
    job.b = gvm::strided_lines(b_lines);
    job.epilogue.data = got.data();
    job.epilogue.rows.step = n;
    job.epilogue.routes = &routes;
    gvm::gemm(job, cpu, threads, scratch);
    bool same = routes.wide != 0 && routes.split == 0 && routes.narrow == 0;
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        int64_t sum = 0;
        for (int64_t t = 0; t < k; ++t) {
          sum += int64_t{a[static_cast<size_t>(i * k + t)]} * b[static_cast<size_t>(t * n + j)];
        }
        same = same && got[static_cast<size_t>(i * n + j)] == sum;
      }
    }
    if (!same) {
      ++failures;
      std::printf("gemm %s: finer proofs of %lld terms: differ, or %lld tiles by bytes\n",
                  gvm::cpu_level_name(cpu.level), static_cast<long long>(k),
                  static_cast<long long>(routes.split));
    }
  }
}

// A proof at its very edge: 2^31 - 1 must not be taken for wrapped, 2^31 must not be missed.
void test_edges(const CpuKernels& cpu, Threads& threads, TestScratch& scratch) {
  for (const int sign : {1, -1}) {
    const std::vector<int16_t> a = {-32768, -32768, 0};
    for (const int16_t last : {int16_t{0}, int16_t{1}, int16_t{-1}}) {
      const std::vector<int16_t> b = {static_cast<int16_t>(sign > 0 ? -32768 : 32767),
                                      static_cast<int16_t>(sign > 0 ? -32768 : 32767), last};
      int64_t got = 0;
      const gvm::StridedLines a_lines = {a.data(), 3, 1}, b_lines = {b.data(), 3, 1};
      gvm::Gemm job;
      job.m = job.n = 1;
      job.k = 3;
      job.a = gvm::strided_lines(a_lines);
      job.b = gvm::strided_lines(b_lines);
      job.epilogue.data = &got;
      job.epilogue.rows.step = 1;
      gvm::gemm(job, cpu, threads, scratch);
      const int64_t want = int64_t{a[0]} * b[0] + int64_t{a[1]} * b[1];
      if (got != want) {
        ++failures;
        std::printf("gemm %s: at the edge of 32 bits: differs\n", gvm::cpu_level_name(cpu.level));
      }
    }
  }
}

// Panels that stay: made once, read again, and the same sums as without them. One job has several
// passes of columns and of terms.
class TestKept : public gvm::Kept {
 public:
  void* get(int64_t index, int64_t bytes, bool* fresh) override {
    const size_t i = static_cast<size_t>(index);
    if (i >= pieces.size()) pieces.resize(i + 1);
    *fresh = pieces[i].empty();
    made += *fresh ? 1 : 0;
    if (*fresh) pieces[i].resize(static_cast<size_t>(bytes) + 64);
    char* const data = pieces[i].data();
    return data + (64 - reinterpret_cast<uintptr_t>(data) % 64) % 64;
  }
  std::vector<std::vector<char>> pieces;
  int made = 0;
};

void test_kept(const CpuKernels& cpu, Threads& threads, TestScratch& scratch) {
  const int64_t shapes[][3] = {{9, 1100, 17000}, {20, 33, 40}, {300, 70, 5}, {9, 1, 1}};
  for (const auto& shape : shapes) {
    const int64_t m = shape[0], n = shape[1], k = shape[2];
    Mix mix{static_cast<uint64_t>(k)};
    std::vector<int16_t> a(static_cast<size_t>(m * k)), b(static_cast<size_t>(k * n));
    for (int16_t& x : a) x = static_cast<int16_t>(mix.next());
    for (int16_t& x : b) x = static_cast<int16_t>(mix.next());
    const gvm::StridedLines a_lines = {a.data(), k, 1}, b_lines = {b.data(), 1, n};
    std::vector<int64_t> plain(static_cast<size_t>(m * n)), sums(plain.size());
    TestKept kept;
    gvm::Gemm job;
    job.m = m, job.n = n, job.k = k;
    job.a = gvm::strided_lines(a_lines);
    job.b = gvm::strided_lines(b_lines);
    job.epilogue.rows.step = n;
    job.epilogue.data = plain.data();
    gvm::gemm(job, cpu, threads, scratch);
    job.kept = &kept;
    job.first_kept = 2;
    job.epilogue.data = sums.data();
    int made = 0;
    for (const int64_t rows : {m, m, int64_t{9}}) {
      std::fill(sums.begin(), sums.end(), -1);
      job.m = rows;
      gvm::gemm(job, cpu, threads, scratch);
      const bool same = std::equal(sums.begin(), sums.begin() + rows * n, plain.begin());
      const bool pieces = static_cast<int64_t>(kept.pieces.size()) <= 2 + job.kept_pieces();
      if (made == 0) made = kept.made;
      if (!same || !pieces || made == 0 || kept.made != made) {
        ++failures;
        std::printf("gemm %s: panels that stay: wrong\n", gvm::cpu_level_name(cpu.level));
      }
    }
  }
}

void test_threads() {
  for (const int count : {1, 2, 5}) {
    Threads threads(count);
    for (int round = 0; round < 200; ++round) {
      std::vector<int> hits(static_cast<size_t>(round), 0);
      threads.parallel_for(round, [&](int64_t task, int thread) {
        hits[static_cast<size_t>(task)] += thread < count ? 1 : 100;
      });
      for (const int hit : hits) failures += hit == 1 ? 0 : 1;
    }
#if GVM_EXCEPTIONS
    bool caught = false;
    try {
      threads.parallel_for(50, [](int64_t task) {
        if (task == 20) throw std::bad_alloc();
      });
    } catch (const std::bad_alloc&) {
      caught = true;
    }
    if (!caught) ++failures;
#endif
  }
  if (failures != 0) std::printf("threads: wrong\n");
}

}  // namespace

int main() {
  test_threads();
  TestScratch scratch;
  for (int level = 0; level <= static_cast<int>(gvm::detect_cpu()); ++level) {
    const CpuKernels& cpu = gvm::cpu_kernels(static_cast<CpuLevel>(level));
    std::printf("gemm_test: %s\n", gvm::cpu_level_name(cpu.level));
    for (const int count : {1, 3}) {
      Threads threads(count);
      test_random_cases(cpu, threads, scratch);
      test_shapes(cpu, threads, scratch);
      test_jammed(cpu, threads, scratch);
      test_edges(cpu, threads, scratch);
      test_finer(cpu, threads, scratch);
      test_kept(cpu, threads, scratch);
    }
  }
  return failures == 0 ? 0 : 1;
}
