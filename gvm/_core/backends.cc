// Which devices this library was built for. The only file that knows.
#include "device.h"

#if GVM_WITH_CUDA
#include "cuda/backend.h"
#endif

namespace gvm {

void fail_device(Status status, const char* text) {
#if GVM_EXCEPTIONS
  throw DeviceFailure{status, text};
#else
  (void)status, (void)text;
  __builtin_trap();  // a library without exceptions has no devices
#endif
}

#if GVM_WITH_CUDA

int count_devices(const char** why) { return count_cuda_devices(why); }

std::unique_ptr<Device> open_device(int index, Error* error) {
  const char* why = "";
  const int count = count_devices(&why);
  if (index >= 0 && index < count) return open_cuda_device(index, error);
  error->fail(Status::no_backend, "device must be in [0, %d), received %d%s%s", count, index,
              count == 0 ? ": " : "", count == 0 ? why : "");
  return nullptr;
}

#else

int count_devices(const char** why) {
  *why = "this library was built without the CUDA backend";
  return 0;
}

std::unique_ptr<Device> open_device(int index, Error* error) {
  const char* why = "";
  count_devices(&why);
  error->fail(Status::no_backend, "device %d: %s", index, why);
  return nullptr;
}

#endif

}  // namespace gvm
