// The CUDA backend: its table of kernels, one for every row of ops.inc, and a session's memory.
#include "cuda/backend.h"
#include "cuda/queue.h"

namespace gvm {

#define GVM_ATTR(name, is_list, minimum, maximum, shortest, longest)
#define GVM_NO_ATTR
#define GVM_OP(code, name, ...) extern const Kernel cuda_kernel_##name;
#include "ops.inc"
#undef GVM_OP

namespace {

// In the order of ops.inc, which is that of all_ops().
const Kernel* const kKernels[] = {
#define GVM_OP(code, name, ...) &cuda_kernel_##name,
#include "ops.inc"
#undef GVM_OP
};

const Kernel& cuda_kernel(const OpInfo& op) {
  int count = 0;
  return *kKernels[&op - all_ops(&count)];
}

class CudaDevice : public Device {
 public:
  explicit CudaDevice(int index) : queue_(index) {}

  const Kernel& kernel(const OpInfo& op) const override { return cuda_kernel(op); }

  PlanTraits plan_traits() const override {
    PlanTraits traits;
    traits.epilogue = [](const OpInfo& op) { return cuda_kernel(op).epilogue; };
    traits.in_place = [](const OpInfo& op) { return cuda_kernel(op).in_place; };
    traits.view = [](const OpInfo& op) { return cuda_kernel(op).view; };
    traits.converts = [](const OpInfo& op) { return cuda_kernel(op).converts; };
    return traits;
  }

  void* allocate(uint64_t bytes) override { return queue_.runtime().memory(bytes); }
  void release(void* data) noexcept override { queue_.runtime().release(data); }

  void upload(void* to, const void* from, uint64_t bytes) override {
    queue_.runtime().expect(queue_.runtime().upload(to, from, bytes));
  }
  void download(void* to, const void* from, uint64_t bytes) override {
    queue_.runtime().expect(queue_.runtime().download(to, from, bytes));
  }
  void copy(void* to, const void* from, uint64_t bytes) override {
    queue_.runtime().expect(queue_.runtime().copy(to, from, bytes));
  }

  void prepare(Call* call) override { call->cuda = &queue_; }
  bool finish(Error* error) override { return queue_.collect(error); }

 private:
  CudaQueue queue_;
};

}  // namespace

#undef GVM_ATTR
#undef GVM_NO_ATTR

int count_cuda_devices(const char** why) { return CudaRuntime::count(why); }

std::unique_ptr<Device> open_cuda_device(int index, Error* error) {
  auto device = std::make_unique<CudaDevice>(index);
  if (!device->finish(error)) return nullptr;
  return device;
}

}  // namespace gvm
