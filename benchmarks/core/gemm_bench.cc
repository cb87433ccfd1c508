// Times the int16 GEMM with a fused stochastic Convert to i16.
//   gemm_bench [m n k threads repeats kind]    kind: realistic (default), uniform, i64, nearest
// Prints the median and the least time in milliseconds.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/gemm.h"
#include "threads.h"

namespace {

class BenchScratch : public gvm::Scratch {
 public:
  ~BenchScratch() override {
    for (void* memory : memory_) std::free(memory);
  }
  void* get(int slot, int64_t bytes) override {
    if (bytes > bytes_[slot]) {
      std::free(memory_[slot]);
      bytes_[slot] = (bytes + 63) / 64 * 64;
      memory_[slot] = std::aligned_alloc(64, static_cast<size_t>(bytes_[slot]));
    }
    return memory_[slot];
  }

 private:
  void* memory_[4] = {};
  int64_t bytes_[4] = {};
};

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int i, long long otherwise) {
    return argc > i ? std::atoll(argv[i]) : otherwise;
  };
  const int64_t m = number(1, 1024), n = number(2, 1024), k = number(3, 1024);
  const int thread_count = static_cast<int>(number(4, 1)),
            repeats = static_cast<int>(number(5, 20));
  const char* kind = argc > 6 ? argv[6] : "realistic";
  const bool uniform = std::strcmp(kind, "uniform") == 0;

  uint64_t state = 1;
  const auto draw = [&](int bits) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int16_t>(static_cast<int64_t>(state) >> (64 - bits));
  };
  // Roughly normal values that use 13 of 16 bits, as calibrated formats leave them; or any i16.
  const auto value = [&] {
    if (uniform) return draw(16);
    return static_cast<int16_t>((draw(13) + draw(13) + draw(13) + draw(13)) / 4);
  };
  std::vector<int16_t> a(static_cast<size_t>(m * k)), b(static_cast<size_t>(k * n));
  for (int16_t& v : a) v = value();
  for (int16_t& v : b) v = value();
  std::vector<int64_t> c(static_cast<size_t>(m * n));

  gvm::CpuLevel level = gvm::detect_cpu();
  if (const char* text = std::getenv("GVM_CPU")) gvm::parse_cpu_level(text, &level);
  const gvm::CpuKernels& cpu = gvm::cpu_kernels(level);
  gvm::Threads threads(thread_count);
  BenchScratch scratch;
  const gvm::StridedLines rows = {a.data(), k, 1}, columns = {b.data(), 1, n};
  gvm::Gemm job;
  job.m = m;
  job.n = n;
  job.k = k;
  job.a = gvm::strided_lines(rows);
  job.b = gvm::strided_lines(columns);
  int64_t clamps = 0;
  gvm::Epilogue& to = job.epilogue;
  to.type = std::strcmp(kind, "i64") == 0 ? gvm::DType::i64 : gvm::DType::i16;
  to.data = c.data();
  to.rows.step = n;
  to.convert.shift = 13;
  to.convert.rounding =
      std::strcmp(kind, "nearest") == 0 ? gvm::Rounding::nearest : gvm::Rounding::forward;
  to.index = {m * n, m * n, 0};
  to.clamps = &clamps;

  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    gvm::gemm(job, cpu, threads, scratch);
    const auto end = std::chrono::steady_clock::now();
    times.push_back(std::chrono::duration<double, std::milli>(end - start).count());
  }
  std::sort(times.begin(), times.end());
  const double median = times[times.size() / 2];
  std::printf("%s %s %lldx%lldx%lld threads %d: median %.3f ms, least %.3f ms, %.1f GMAC/s\n",
              gvm::cpu_level_name(level), kind, static_cast<long long>(m),
              static_cast<long long>(n), static_cast<long long>(k), thread_count, median,
              times.front(), static_cast<double>(m * n * k) / median / 1e6);
  return 0;
}
