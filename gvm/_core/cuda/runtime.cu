#include "cuda/runtime.h"
#include "device.h"

namespace gvm {

void CudaRuntime::expect(bool done) const {
  if (!done) fail_device(out_of_memory_ ? Status::out_of_memory : Status::internal, failure_);
}

void* CudaRuntime::memory(uint64_t bytes) {
  void* data = nullptr;
  expect(allocate(&data, bytes));
  return data;
}

#if defined(__CUDACC__)

namespace {

constexpr int kOldest = 80;  // compute capability 8.0: dot products of bytes on tensor cores

}  // namespace

int CudaRuntime::count(const char** why) {
  int devices = 0;
  const cudaError_t code = cudaGetDeviceCount(&devices);
  if (code != cudaSuccess) {
    *why = cudaGetErrorString(code);
    cudaGetLastError();  // it is not to be met again
    return 0;
  }
  for (int i = 0; i < devices; ++i) {
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, i);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, i);
    if (10 * major + minor >= kOldest) continue;
    *why = "a GPU is older than compute capability 8.0";
    return i;
  }
  *why = devices == 0 ? "no GPU" : "";
  return devices;
}

bool CudaRuntime::check(int code) {
  if (code == cudaSuccess) return true;
  failure_ = cudaGetErrorString(static_cast<cudaError_t>(code));
  out_of_memory_ = code == cudaErrorMemoryAllocation;
  cudaGetLastError();
  return false;
}

CudaRuntime::CudaRuntime(int index) : index_(index) {
  cudaStream_t made = nullptr;
  if (check(cudaSetDevice(index)) &&
      check(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking))) {
    stream_ = made;
  }
}

CudaRuntime::~CudaRuntime() {
  cudaSetDevice(index_);
  if (stream_ != nullptr) cudaStreamDestroy(stream());
}

bool CudaRuntime::allocate(void** data, uint64_t bytes) {
  return check(cudaSetDevice(index_)) && check(cudaMallocAsync(data, bytes, stream())) &&
         clear(*data, bytes);
}

void CudaRuntime::release(void* data) {
  if (data == nullptr) return;
  cudaSetDevice(index_);
  cudaFreeAsync(data, stream());
}

bool CudaRuntime::upload(void* to, const void* from, uint64_t bytes) {
  return check(cudaSetDevice(index_)) &&
         check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream()));
}

bool CudaRuntime::download(void* to, const void* from, uint64_t bytes) {
  return check(cudaSetDevice(index_)) &&
         check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream())) && wait();
}

bool CudaRuntime::copy(void* to, const void* from, uint64_t bytes) {
  return check(cudaSetDevice(index_)) &&
         check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream()));
}

bool CudaRuntime::clear(void* to, uint64_t bytes) {
  return check(cudaSetDevice(index_)) && check(cudaMemsetAsync(to, 0, bytes, stream()));
}

bool CudaRuntime::wait() {
  return check(cudaSetDevice(index_)) && check(cudaStreamSynchronize(stream()));
}

void CudaRuntime::before_launch() { cudaSetDevice(index_); }
bool CudaRuntime::after_launch() { return check(cudaGetLastError()); }

#endif

}  // namespace gvm
