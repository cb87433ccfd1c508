// What kernels are written in. With nvcc it is CUDA. Without it, the same sources are C++ for this
// processor: a launch is a loop, and the memory of a device may be touched while one runs and at no
// other time. That is no backend to use; it is how every kernel is tested without a GPU.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#define GVM_DEVICE_CODE __device__ inline
#define GVM_EACH [=] __device__
#else
#define GVM_DEVICE_CODE inline
#define GVM_EACH [=]
#endif

namespace gvm {

// Adds to a sum that other threads add to: integers, so that their order cannot matter.
GVM_DEVICE_CODE void add_to(int64_t* sum, int64_t n) {
#if defined(__CUDACC__)
  atomicAdd(reinterpret_cast<unsigned long long*>(sum), static_cast<unsigned long long>(n));
#else
  *sum += n;
#endif
}

// The least of what is there and v.
GVM_DEVICE_CODE void least_of(uint64_t* least, uint64_t v) {
#if defined(__CUDACC__)
  atomicMin(reinterpret_cast<unsigned long long*>(least), static_cast<unsigned long long>(v));
#else
  if (v < *least) *least = v;
#endif
}

// The clamps of one element, which are rare.
GVM_DEVICE_CODE void count_clamps(int64_t* counter, int64_t clamps) {
  if (clamps != 0) add_to(counter, clamps);
}

// What a device of the process can do; see runtime.cu. Each returns false after a failure, which
// failure_text() names; out_of_memory() says whether memory was what it lacked.
class CudaRuntime {
 public:
  static int count(const char** why);

  explicit CudaRuntime(int index);
  ~CudaRuntime();
  CudaRuntime(const CudaRuntime&) = delete;
  CudaRuntime& operator=(const CudaRuntime&) = delete;

  bool allocate(void** data, uint64_t bytes);  // zeroed
  void release(void* data);
  bool upload(void* to, const void* from, uint64_t bytes);
  bool download(void* to, const void* from, uint64_t bytes);  // waits
  bool copy(void* to, const void* from, uint64_t bytes);
  bool clear(void* to, uint64_t bytes);
  bool wait();

  // Kernels may run between the two; false if the launch failed.
  void before_launch();
  bool after_launch();

  const char* failure_text() const { return failure_; }
  bool out_of_memory() const { return out_of_memory_; }
  // Memory, or fail_device().
  void* memory(uint64_t bytes);
  // Nothing after a copy that was done, else fail_device().
  void expect(bool done) const;

#if defined(__CUDACC__)
  cudaStream_t stream() const { return static_cast<cudaStream_t>(stream_); }
#endif

 private:
  bool check(int code);

  int index_;
  void* stream_ = nullptr;
  void* memory_ = nullptr;  // of a simulated device
  const char* failure_ = "";
  bool out_of_memory_ = false;
};

}  // namespace gvm
