// A processor beside this machine's own, with memory of its own: a session may run on one.
#pragma once

#include <cstdint>
#include <memory>

#include "plan.h"
#include "status.h"

namespace gvm {

struct Call;
struct Kernel;

// A device that does not do its work: thrown by fail_device alone, turned into a status by
// guarded() of the C ABI. `text` has static storage.
struct DeviceFailure {
  Status status;
  const char* text;
};
[[noreturn]] void fail_device(Status status, const char* text);

// Its addresses are for its kernels alone. Kernels run in the order of their calls and return at
// once: what they meet is known after finish(). Not for concurrent use.
class Device {
 public:
  virtual ~Device() = default;

  virtual const Kernel& kernel(const OpInfo& op) const = 0;
  virtual PlanTraits plan_traits() const = 0;

  // Zeroed memory, aligned to kAlignment. This and the copies end in fail_device() where they fail.
  virtual void* allocate(uint64_t bytes) = 0;
  virtual void release(void* data) noexcept = 0;
  virtual void upload(void* to, const void* from, uint64_t bytes) = 0;
  virtual void download(void* to, const void* from, uint64_t bytes) = 0;
  virtual void copy(void* to, const void* from, uint64_t bytes) = 0;

  // Gives a call what the kernels of this device want; call->clamps is valid until finish().
  virtual void prepare(Call* call) = 0;
  // Waits for all kernels and adds their clamps. False: the first of them that failed says why.
  virtual bool finish(Error* error) = 0;
};

// Levels of this number and above are devices: kDeviceLevel + i is the one of index i.
constexpr int kDeviceLevel = 64;

// How many there are, and what stands in the way where there are none (never null).
int count_devices(const char** why);
// The device of this index; null after error->fail.
std::unique_ptr<Device> open_device(int index, Error* error);

}  // namespace gvm
