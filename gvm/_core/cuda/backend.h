// The CUDA backend as the rest of the library sees it.
#pragma once

#include <memory>

#include "device.h"

namespace gvm {

int count_cuda_devices(const char** why);
// The device of this index, which exists; null after error->fail.
std::unique_ptr<Device> open_cuda_device(int index, Error* error);

}  // namespace gvm
