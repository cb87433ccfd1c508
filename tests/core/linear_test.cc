// What is fused behind a linear kernel, against the same kernel's exact sums and fixed.h: bias,
// Convert with the logical index of a shard, ReLU and the count of clamps.
#include <cstdio>
#include <initializer_list>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/kernel.h"

namespace gvm {
extern const Kernel kernel_matmul, kernel_conv2d, kernel_conv2d_grad_input;
}

namespace {

using gvm::DType;
using gvm::kBatch;
using gvm::Rounding;
using gvm::Tensor;

int failures = 0;

class TestScratch : public gvm::Scratch {
 public:
  void* get(int slot, int64_t bytes) override {
    slots_[slot].resize(static_cast<size_t>(bytes) + 64);
    const uintptr_t start = reinterpret_cast<uintptr_t>(slots_[slot].data());
    return slots_[slot].data() + ((64 - start % 64) % 64);
  }

 private:
  std::vector<char> slots_[4];
};

// A generator for test data only.
struct Mix {
  uint64_t state;
  uint64_t next() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 16;
  }
};

const gvm::Batch kShard = {3, 2, 9};

// A tensor with memory of its own, painted with numbers of `bits` bits.
struct Owned {
  std::vector<int64_t> memory;
  Tensor tensor;

  Owned(DType dtype, int fraction_bits, const std::vector<int64_t>& dims, int bits, uint64_t seed) {
    tensor.type = gvm::make_type(dtype, fraction_bits, dims);
    tensor.elements = 1;
    for (size_t i = 0; i < dims.size(); ++i) {
      tensor.dims[i] = dims[i] == kBatch ? kShard.local : dims[i];
      tensor.elements *= tensor.dims[i];
    }
    memory.resize(static_cast<size_t>(tensor.elements) + 1);
    tensor.data = memory.data();
    Mix mix{seed};
    for (int64_t i = 0; i < tensor.elements; ++i) {
      const int64_t v = static_cast<int64_t>(mix.next() << 16) >> (64 - bits);
      if (dtype == DType::i16) tensor.as<int16_t>()[i] = static_cast<int16_t>(v);
      if (dtype == DType::i32) tensor.as<int32_t>()[i] = static_cast<int32_t>(v);
    }
  }
};

struct Operation {
  const char* name;
  const gvm::Kernel& kernel;
  std::vector<std::vector<int64_t>> attributes;
  std::vector<int64_t> first, second, result;  // dims
};

void check(const Operation& op, const gvm::CpuKernels& cpu, gvm::Threads& threads, bool has_bias,
           int bias_bits, DType type, int fraction_bits, Rounding rounding, bool relu) {
  const int kFractionBits = 20, kSite = 31;
  Owned a(DType::i16, 9, op.first, 14, 1), b(DType::i16, 11, op.second, 13, 2);
  const int64_t last = op.result.back();
  Owned bias(bias_bits > 16 ? DType::i32 : DType::i16, 8, {last}, bias_bits, 3);
  Owned exact(DType::i64, kFractionBits, op.result, 1, 4),
      rounded(type, fraction_bits, op.result, 1, 5);
  TestScratch scratch;
  gvm::Attributes attributes;
  attributes.values = op.attributes;
  const Tensor inputs[] = {a.tensor, b.tensor};
  gvm::Call call;
  call.attributes = &attributes;
  call.in = inputs;
  call.inputs = 2;
  call.out = &exact.tensor;
  call.batch = kShard;
  call.seed = 77;
  call.step = 5;
  call.threads = &threads;
  call.cpu = &cpu;
  call.scratch = &scratch;
  int64_t clamps = 0, want_clamps = 0;
  call.clamps = &clamps;
  op.kernel.run(call);
  gvm::Fused fused;
  fused.bias = has_bias ? &bias.tensor : nullptr;
  fused.convert = true;
  fused.rounding = rounding;
  fused.site = kSite;
  fused.fraction_bits_in = kFractionBits;
  fused.relu = relu;
  call.fused = &fused;
  call.out = &rounded.tensor;
  op.kernel.run(call);

  const gvm::IndexMap index = gvm::index_map(rounded.tensor.type, kShard);
  const int shift = kFractionBits - fraction_bits;
  bool same = true;
  for (int64_t e = 0; e < exact.tensor.elements; ++e) {
    int64_t sum = exact.tensor.as<int64_t>()[e];
    if (has_bias) {
      const int64_t v = bias_bits > 16 ? bias.tensor.as<int32_t>()[e % last]
                                       : bias.tensor.as<int16_t>()[e % last];
      sum += v * (int64_t{1} << (kFractionBits - 8));
    }
    const uint32_t r =
        gvm::random_for_convert(77, kSite, 5, rounding, shift, static_cast<uint64_t>(index(e)));
    int64_t q = gvm::convert(sum, shift, rounding, r, gvm::dtype_bits(type), &want_clamps);
    if (relu && q < 0) q = 0;
    same = same && q == (type == DType::i16 ? rounded.tensor.as<int16_t>()[e]
                                            : rounded.tensor.as<int32_t>()[e]);
  }
  if (same && clamps == want_clamps) return;
  ++failures;
  std::printf("%s, %s, %d threads, bias %d, %s, shift %d, rounding %d: %s\n", op.name,
              gvm::cpu_level_name(cpu.level), threads.count(), has_bias ? bias_bits : 0,
              gvm::dtype_name(type), shift, static_cast<int>(rounding),
              same ? "clamps differ" : "differs");
}

}  // namespace

int main() {
  const Operation operations[] = {
      {"matmul", gvm::kernel_matmul, {{0}, {0}}, {kBatch, 37}, {37, 45}, {kBatch, 45}},
      {"matmul of many",
       gvm::kernel_matmul,
       {{1}, {1}},
       {4, 30, kBatch},
       {4, 17, 30},
       {4, kBatch, 17}},
      {"matmul of long sums",
       gvm::kernel_matmul,
       {{0}, {0}},
       {kBatch, 16400},
       {16400, 9},
       {kBatch, 9}},
      {"conv2d",
       gvm::kernel_conv2d,
       {{1, 2}, {1, 1, 0, 2}, {1, 1}, {1}},
       {kBatch, 7, 9, 5},
       {3, 3, 5, 20},
       {kBatch, 7, 5, 20}},
      {"conv2d in groups",
       gvm::kernel_conv2d,
       {{1, 1}, {0, 0, 0, 0}, {1, 1}, {2}},
       {kBatch, 6, 6, 16},
       {2, 2, 8, 18},
       {kBatch, 5, 5, 18}},
      {"conv2d by channel",
       gvm::kernel_conv2d,
       {{1, 1}, {1, 1, 1, 1}, {1, 1}, {6}},
       {kBatch, 6, 6, 6},
       {3, 3, 1, 6},
       {kBatch, 6, 6, 6}},
      {"conv2d_grad_input",
       gvm::kernel_conv2d_grad_input,
       {{2, 3}, {1, 1, 1, 1}, {1, 1}, {1}, {9, 10}},
       {kBatch, 5, 4, 6},
       {3, 3, 7, 6},
       {kBatch, 9, 10, 7}},
      {"conv2d_grad_input in groups",
       gvm::kernel_conv2d_grad_input,
       {{1, 1}, {1, 1, 1, 1}, {1, 1}, {2}, {5, 4}},
       {kBatch, 5, 4, 16},
       {3, 3, 9, 16},
       {kBatch, 5, 4, 18}},
      {"conv2d_grad_input by channel",
       gvm::kernel_conv2d_grad_input,
       {{1, 2}, {1, 1, 1, 1}, {1, 1}, {5}, {6, 6}},
       {kBatch, 6, 3, 5},
       {3, 3, 1, 5},
       {kBatch, 6, 6, 5}},
  };
  for (int level = 0; level <= static_cast<int>(gvm::detect_cpu()); ++level) {
    const gvm::CpuKernels& cpu = gvm::cpu_kernels(static_cast<gvm::CpuLevel>(level));
    std::printf("linear_test: %s\n", gvm::cpu_level_name(cpu.level));
    for (const int count : {1, 3}) {
      gvm::Threads threads(count);
      for (const Operation& op : operations) {
        for (int rounding = 0; rounding < 3; ++rounding) {
          const Rounding mode = static_cast<Rounding>(rounding);
          check(op, cpu, threads, false, 16, DType::i16, 8, mode, false);
          check(op, cpu, threads, true, 12, DType::i16, 6, mode, true);
          check(op, cpu, threads, true, 32, DType::i16, 2, mode, false);
          check(op, cpu, threads, true, 20, DType::i32, 18, mode, true);
          check(op, cpu, threads, true, 30, DType::i32, 21, mode, false);
        }
      }
    }
  }
  return failures == 0 ? 0 : 1;
}
