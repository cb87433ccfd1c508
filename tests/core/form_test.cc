// Freivalds' check of claimed products (cpu/form.h), with keys that follow from a counter: true
// claims pass and give the bits of the kernel, every lie is found, at its first wrong element.
#include "cpu/form.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "cpu/dispatch.h"

namespace gvm {
extern const Kernel kernel_matmul, kernel_matmul_grad_weight, kernel_conv2d,
    kernel_conv2d_grad_input, kernel_conv2d_grad_weight;
}

namespace {

using gvm::Claim;
using gvm::DType;
using gvm::Tensor;

int failures = 0;

void expect(bool holds, const char* name, const char* what) {
  if (holds) return;
  ++failures;
  std::printf("%s: %s\n", name, what);
}

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

class TestSink : public gvm::Sink {
 public:
  std::vector<int64_t> sums;
  void take(const int64_t* from, int64_t n, int64_t element) override {
    std::copy(from, from + n, sums.begin() + element);
  }
};

struct Mix {
  uint64_t state;
  uint64_t next() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 16;
  }
};

struct Operation {
  const char* name;
  const gvm::Kernel& kernel;
  std::vector<std::vector<int64_t>> attributes;
  std::vector<int64_t> first, second, result;
  int64_t terms;  // of a sum, at most
  bool has_form = true;
};

// A tensor painted with numbers of `bits` bits; 0: the extremes of 16 bits alone.
struct Owned {
  std::vector<int16_t> memory;
  Tensor tensor;

  Owned(const std::vector<int64_t>& dims, int bits, uint64_t seed) {
    tensor.type = gvm::make_type(DType::i16, 8, dims);
    tensor.elements = 1;
    for (size_t i = 0; i < dims.size(); ++i) tensor.elements *= tensor.dims[i] = dims[i];
    Mix mix{seed};
    for (int64_t i = 0; i < tensor.elements; ++i) {
      const int64_t x = static_cast<int64_t>(mix.next() << 16);
      memory.push_back(bits == 0 ? (seed == 1 || x < 0 ? int16_t{-32768} : int16_t{32767})
                                 : static_cast<int16_t>(x >> (64 - bits)));
    }
    tensor.data = memory.data();
  }
};

void check(const Operation& op, const gvm::CpuKernels& cpu, gvm::Threads& threads, int bits,
           int lies) {
  Owned a(op.first, bits, 1), b(op.second, bits, 2);
  Tensor exact;
  exact.type = gvm::make_type(DType::i64, 16, op.result);
  exact.type.bound = static_cast<uint64_t>(op.terms) << 30;
  exact.elements = 1;
  for (size_t i = 0; i < op.result.size(); ++i) exact.elements *= exact.dims[i] = op.result[i];
  const size_t count = static_cast<size_t>(exact.elements);
  std::vector<int64_t> truth(count), made(count);
  TestScratch scratch;
  gvm::Attributes attributes;
  attributes.values = op.attributes;
  const Tensor inputs[] = {a.tensor, b.tensor};
  Tensor out = exact;
  out.data = truth.data();
  gvm::Error error;
  int64_t clamps = 0;
  gvm::OpInfo info = {};
  info.name = op.name;
  gvm::Call call;
  call.op = &info;
  call.attributes = &attributes;
  call.in = inputs;
  call.inputs = 2;
  call.out = &out;
  call.batch = {op.result[0], 0, op.result[0]};
  call.threads = &threads;
  call.cpu = &cpu;
  call.scratch = &scratch;
  call.clamps = &clamps;
  call.error = &error;
  op.kernel.run(call);

  uint8_t key[gvm::kKeyBytes] = {};
  bool checked = false;
  gvm::Finding finding;
  const auto run = [&](const Claim& claim) {
    ++key[0];
    key[1] = static_cast<uint8_t>(key[1] + (key[0] == 0 ? 1 : 0));
    finding = {};
    return gvm::run_claimed(op.kernel, call, exact, claim, key, 7, &checked, &finding) ==
               gvm::Status::ok &&
           checked == op.has_form;
  };
  out.data = made.data();
  expect(run({truth.data(), true}) && !finding.wrong, op.name, "a true claim is refused");
  expect(made == truth, op.name, "a true claim makes other sums");
  std::vector<int32_t> narrow(truth.begin(), truth.end());
  const bool fits = std::equal(truth.begin(), truth.end(), narrow.begin());
  if (fits) {
    std::fill(made.begin(), made.end(), 0);
    expect(run({narrow.data(), false}) && !finding.wrong, op.name, "a narrow claim is refused");
    expect(made == truth, op.name, "a narrow claim makes other sums");
  }
  if (op.kernel.sinks && op.has_form) {
    TestSink sink;
    sink.sums.resize(count);
    call.sink = &sink;
    expect(run({truth.data(), true}) && sink.sums == truth, op.name, "a sink takes other sums");
    if (fits) expect(run({narrow.data(), false}), op.name, "a narrow claim is refused for a sink");
    expect(sink.sums == truth, op.name, "a sink takes other narrow sums");
    call.sink = nullptr;
  }
  if (!op.has_form) return;

  // Lies in one element, by numbers of every size: multiples of the prime are beyond the bound.
  const int64_t prime = static_cast<int64_t>(gvm::kPrime);
  const int64_t moves[] = {1, -1, int64_t{1} << 21, -(int64_t{1} << 32), prime, -prime, 3 * prime};
  Mix mix{9};
  for (int i = 0; i < lies; ++i) {
    std::vector<int64_t> lie = truth;
    const size_t at = i == 0 ? count - 1 : static_cast<size_t>(mix.next()) % count;
    lie[at] += moves[static_cast<size_t>(i) % (sizeof moves / sizeof *moves)];
    const bool found = run({lie.data(), true}) && finding.wrong &&
                       finding.element == static_cast<int64_t>(at) && finding.claimed == lie[at] &&
                       finding.computed == truth[at];
    expect(found, op.name, "a lie is not found");
  }
  // Two that cancel out where weights are equal, in a row and in a column, and a narrow one.
  for (size_t other : {count - 2, count - 1 - static_cast<size_t>(op.result.back())}) {
    if (count < 2 || other >= count - 1) continue;
    std::vector<int64_t> lie = truth;
    ++lie[count - 1];
    --lie[other];
    expect(
        run({lie.data(), true}) && finding.wrong && finding.element == static_cast<int64_t>(other),
        op.name, "two lies are not found");
  }
  if (fits) {
    narrow[count / 2] ^= 1;
    expect(run({narrow.data(), false}) && finding.wrong &&
               finding.element == static_cast<int64_t>(count / 2),
           op.name, "a narrow lie is not found");
  }
}

void test_field() {
  const uint64_t p = gvm::kPrime;
  expect(gvm::field_reduce(p) == 0 && gvm::field_reduce(p + 5) == 5 &&
             gvm::field_reduce(~uint64_t{0}) == 7,
         "field", "reduce");
  // 2^64 - 1 = 8 * (p + 1) - 1 = 8 p + 7; (p - 1)^2 = 1; 2^61 = 1.
  expect(gvm::field_mul(p - 1, p - 1) == 1 && gvm::field_mul(p - 1, 2) == p - 2 &&
             gvm::field_mul(uint64_t{1} << 60, 2) == 1 && gvm::field_mul(0, p - 1) == 0,
         "field", "multiply");
  expect(gvm::field_of(-1) == p - 1 && gvm::field_of(INT64_MIN) == p - 4 &&
             gvm::field_of(INT64_MAX) == 3 && gvm::field_of(-static_cast<int64_t>(p)) == 0,
         "field", "of");
  expect(gvm::field_shl(p - 1, 60) == gvm::field_mul(p - 1, uint64_t{1} << 60), "field", "shl");
}

// c = [[1, 2], [3, 4]] times [[5], [6]] by hand: the form is u0 * v0 * 17 + u1 * v0 * 39.
void test_hand_worked(const gvm::CpuKernels& cpu) {
  gvm::Threads threads(1);
  TestScratch scratch;
  int16_t left[] = {1, 2, 3, 4}, right[] = {5, 6};
  Tensor in[2], result;
  in[0].type = gvm::make_type(DType::i16, 0, {2, 2});
  in[1].type = gvm::make_type(DType::i16, 0, {2, 1});
  result.type = gvm::make_type(DType::i64, 0, {2, 1});
  in[0].dims[0] = in[0].dims[1] = in[1].dims[0] = result.dims[0] = 2;
  in[1].dims[1] = result.dims[1] = 1;
  in[0].data = left;
  in[1].data = right;
  in[0].elements = 4;
  in[1].elements = result.elements = 2;
  gvm::Attributes attributes;
  attributes.values = {{0}, {0}};
  gvm::Call call;
  call.attributes = &attributes;
  call.in = in;
  call.inputs = 2;
  call.out = &result;
  call.threads = &threads;
  call.cpu = &cpu;
  call.scratch = &scratch;
  const uint8_t key[gvm::kKeyBytes] = {1};
  gvm::Weights weights(key, 0, result);
  weights.axis[0][0] = {3, gvm::kPrime - 1};
  weights.axis[0][1] = {4, 1};
  weights.axis[1][0] = {10, 2};
  gvm::Pair value;
  expect(gvm::matmul_form(call, weights, &value), "hand-worked", "no form");
  expect(value == gvm::Pair{10 * (3 * 17 + 4 * 39), 2 * (39 - 17)}, "hand-worked", "another value");
}

}  // namespace

int main() {
  test_field();
  const std::vector<std::vector<int64_t>> plain = {{0}, {0}};
  const std::vector<std::vector<int64_t>> same = {{1, 1}, {1, 1, 1, 1}, {1, 1}, {1}};
  const std::vector<std::vector<int64_t>> odd = {{2, 3}, {2, 1, 0, 2}, {1, 2}, {1}};
  const auto with = [](std::vector<std::vector<int64_t>> attributes, std::vector<int64_t> own) {
    attributes.push_back(own);
    return attributes;
  };
  const std::vector<std::vector<int64_t>> grouped = {{1, 1}, {1, 1, 1, 1}, {1, 1}, {2}};
  // `odd`, on 9 x 11 with a 3 x 2 kernel: (9 + 3 - 3) / 2 + 1 = 5 by (11 + 2 - 3) / 3 + 1 = 4.
  const Operation operations[] = {
      {"matmul", gvm::kernel_matmul, plain, {17, 37}, {37, 45}, {17, 45}, 37},
      {"long", gvm::kernel_matmul, plain, {3, 2100}, {2100, 1}, {3, 1}, 2100},
      {"broad", gvm::kernel_matmul, plain, {2, 5}, {5, 5000}, {2, 5000}, 5},
      {"one", gvm::kernel_matmul, plain, {1, 1}, {1, 1}, {1, 1}, 1},
      {"turned", gvm::kernel_matmul, {{1}, {1}}, {37, 17}, {45, 37}, {17, 45}, 37},
      {"shared", gvm::kernel_matmul, plain, {3, 2, 5, 7}, {7, 6}, {3, 2, 5, 6}, 7},
      {"shared a", gvm::kernel_matmul, {{1}, {0}}, {3, 2, 7, 5}, {7, 6}, {3, 2, 5, 6}, 7},
      {"batched", gvm::kernel_matmul, {{0}, {1}}, {3, 2, 5, 7}, {3, 2, 6, 7}, {3, 2, 5, 6}, 7},
      {"weight", gvm::kernel_matmul_grad_weight, {}, {30, 11}, {30, 13}, {11, 13}, 30},
      {"weights", gvm::kernel_matmul_grad_weight, {}, {3, 4, 11}, {3, 4, 5}, {11, 5}, 12},
      {"conv", gvm::kernel_conv2d, same, {2, 6, 5, 3}, {3, 3, 3, 4}, {2, 6, 5, 4}, 27},
      {"odd", gvm::kernel_conv2d, odd, {2, 9, 11, 3}, {3, 2, 3, 4}, {2, 5, 4, 4}, 18},
      {"input",
       gvm::kernel_conv2d_grad_input,
       with(same, {6, 5}),
       {2, 6, 5, 4},
       {3, 3, 3, 4},
       {2, 6, 5, 3},
       36},
      {"odd input",
       gvm::kernel_conv2d_grad_input,
       with(odd, {9, 11}),
       {2, 5, 4, 4},
       {3, 2, 3, 4},
       {2, 9, 11, 3},
       24},
      {"kernel",
       gvm::kernel_conv2d_grad_weight,
       with(same, {3, 3}),
       {2, 6, 5, 3},
       {2, 6, 5, 4},
       {3, 3, 3, 4},
       60},
      {"odd kernel",
       gvm::kernel_conv2d_grad_weight,
       with(odd, {3, 2}),
       {2, 9, 11, 3},
       {2, 5, 4, 4},
       {3, 2, 3, 4},
       40},
      {"groups", gvm::kernel_conv2d, grouped, {2, 6, 5, 4}, {3, 3, 2, 4}, {2, 6, 5, 4}, 18, false},
  };
  for (int level = 0; level <= static_cast<int>(gvm::detect_cpu()); ++level) {
    const gvm::CpuKernels& cpu = gvm::cpu_kernels(static_cast<gvm::CpuLevel>(level));
    test_hand_worked(cpu);
    for (int count : {1, 3}) {
      gvm::Threads threads(count);
      for (const Operation& op : operations) {
        check(op, cpu, threads, 12, count == 1 ? 70 : 7);
        check(op, cpu, threads, 16, 7);
        check(op, cpu, threads, 0, 7);
      }
    }
  }
  return failures == 0 ? 0 : 1;
}
