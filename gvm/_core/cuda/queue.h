// The work of one session on a device, in order: launches, temporary memory, tables, and what
// kernels report: clamps and faults.
#pragma once

#include <map>
#include <type_traits>
#include <vector>

#include "cpu/kernel.h"
#include "cuda/runtime.h"
#include "status.h"
#include "tables.h"

namespace gvm {

// What a value at run time has to be; the message is that of the CPU's kernel.
enum class Rule { label, index, most, least };

// The first element that broke a rule, and its value: ~0 if none did. Elements beyond 2^32 are
// reported as the last of those below.
struct Fault {
  uint64_t first;
  int64_t value;
};

GVM_DEVICE_CODE void report_element(Fault* fault, int64_t element, int32_t value) {
  const uint64_t at = element < 0xffffffff ? static_cast<uint64_t>(element) : 0xfffffffeu;
  least_of(&fault->first, (at << 32) | static_cast<uint32_t>(value));
}

// Of a scalar: one thread reports.
GVM_DEVICE_CODE void report_scalar(Fault* fault, int64_t value) {
  fault->first = 0;
  fault->value = value;
}

// A unary table on the device, and whether any entry clamps.
struct DeviceTable {
  const int16_t* narrow;
  const int32_t* wide;
  const uint8_t* clamped;  // null: none
};

#if defined(__CUDACC__)
template <typename F>
__global__ void run_each(int64_t n, F f) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
    f(i);
  }
}
#endif

class CudaQueue {
 public:
  explicit CudaQueue(int index);
  ~CudaQueue();

  CudaRuntime& runtime() { return runtime_; }

  // Runs f(i) for i in [0, n), each in a thread of its own.
  template <typename F>
  void each(int64_t n, const F& f) {
    if (n <= 0) return;
    runtime_.before_launch();
#if defined(__CUDACC__)
    constexpr int kBlock = 256;
    constexpr int64_t kMostBlocks = int64_t{1} << 20;
    const int64_t blocks = (n - 1) / kBlock + 1;
    const unsigned grid = static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks);
    run_each<<<grid, kBlock, 0, runtime_.stream()>>>(n, f);
#else
    static_assert(std::is_trivially_copyable<F>::value, "a kernel takes numbers and addresses");
    for (int64_t i = 0; i < n; ++i) f(i);
#endif
    note(runtime_.after_launch());
  }

  void clear(void* to, int64_t bytes) { note(runtime_.clear(to, static_cast<uint64_t>(bytes))); }

  // Temporary memory of a call, one piece for each slot 0..3; contents are undefined.
  void* scratch(int slot, int64_t bytes);
  // A counter on the device, which collect() adds to *owner.
  int64_t* counter(int64_t* owner);
  // Where a kernel of this call reports the first value that breaks a rule; `limit` is what the
  // message needs of it.
  Fault* fault(const Call& call, Rule rule, int64_t limit);

  // Tables of section 6 and 7 on the device; null in a table after a failure.
  DeviceTable unary_table(int function, int in_bits, int out_bits, int bits);
  const Exponentials* exponentials(int fraction_bits);

  // Waits, adds the counters, and returns false at the first fault or failure since the last call.
  bool collect(Error* error);

 private:
  struct Watch {
    const OpInfo* op;
    Rule rule;
    int64_t limit;
  };
  static constexpr size_t kCounters = 4096, kFaults = 1024;

  void note(bool done);
  void gather();  // what the device has counted and found, and begins anew
  const void* resident(const std::vector<int>& key, const void* data, uint64_t bytes);

  CudaRuntime runtime_;
  Error error_;  // the first since collect()
  void* scratch_[4] = {};
  int64_t scratch_bytes_[4] = {};
  int64_t* counters_ = nullptr;
  std::vector<int64_t*> owners_;
  Fault* faults_ = nullptr;
  std::vector<Watch> watches_;
  TableCache tables_;
  std::map<std::vector<int>, void*> resident_;
};

}  // namespace gvm
