// A device that is this processor, for tests (runtime.h): its memory is a range of addresses that
// only launches and copies may touch, so that a kernel's host code which does is stopped at once.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>

#include "cuda/runtime.h"

namespace gvm {

namespace {

constexpr uint64_t kRange = uint64_t{1} << 36;
constexpr uint64_t kPiece = 256;  // every allocation is a multiple of it

// Allocations by their offset in the range, first fit.
struct Memory {
  uint8_t* base = nullptr;
  uint64_t used = 0;  // bytes from the start that were ever given out
  std::map<uint64_t, uint64_t> taken;
};

Memory& of(void* memory) { return *static_cast<Memory*>(memory); }

uint64_t pages(uint64_t bytes) { return (bytes + 4095) / 4096 * 4096; }

void open(Memory& m) {
  if (m.used != 0) mprotect(m.base, pages(m.used), PROT_READ | PROT_WRITE);
}

void close(Memory& m) {
  if (m.used != 0) mprotect(m.base, pages(m.used), PROT_NONE);
}

}  // namespace

int CudaRuntime::count(const char** why) {
  *why = "";
  return 1;
}

CudaRuntime::CudaRuntime(int index) : index_(index) {
  void* const range =
      mmap(nullptr, kRange, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED) return;
  auto* const made = new Memory;
  made->base = static_cast<uint8_t*>(range);
  memory_ = made;
}

CudaRuntime::~CudaRuntime() {
  if (memory_ == nullptr) return;
  munmap(of(memory_).base, kRange);
  delete static_cast<Memory*>(memory_);
}

bool CudaRuntime::allocate(void** data, uint64_t bytes) {
  if (memory_ == nullptr) return false;
  Memory& m = of(memory_);
  const uint64_t wanted = (std::max<uint64_t>(bytes, 1) + kPiece - 1) / kPiece * kPiece;
  uint64_t at = 0;
  for (const auto& [offset, size] : m.taken) {
    if (offset - at >= wanted) break;
    at = offset + size;
  }
  out_of_memory_ = at + wanted > kRange;
  failure_ = "out of memory";
  if (out_of_memory_) return false;
  m.taken[at] = wanted;
  m.used = std::max(m.used, at + wanted);
  *data = m.base + at;
  return clear(*data, bytes);
}

void CudaRuntime::release(void* data) {
  if (data == nullptr) return;
  Memory& m = of(memory_);
  m.taken.erase(static_cast<uint64_t>(static_cast<uint8_t*>(data) - m.base));
}

bool CudaRuntime::upload(void* to, const void* from, uint64_t bytes) {
  open(of(memory_));
  std::memcpy(to, from, bytes);
  close(of(memory_));
  return true;
}

bool CudaRuntime::download(void* to, const void* from, uint64_t bytes) {
  return upload(to, from, bytes);
}

bool CudaRuntime::copy(void* to, const void* from, uint64_t bytes) {
  return upload(to, from, bytes);
}

bool CudaRuntime::clear(void* to, uint64_t bytes) {
  open(of(memory_));
  std::memset(to, 0, bytes);
  close(of(memory_));
  return true;
}

bool CudaRuntime::wait() { return true; }

void CudaRuntime::before_launch() { open(of(memory_)); }

bool CudaRuntime::after_launch() {
  close(of(memory_));
  return true;
}

bool CudaRuntime::check(int) { return index_ >= 0; }

}  // namespace gvm
