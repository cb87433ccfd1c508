// Memory of sessions: this machine's, or a device's.
#include <cstring>

#include "session.h"

namespace gvm {

Buffer::Buffer(uint64_t bytes, Device* device)
    : storage_(bytes > 0 && device == nullptr ? new uint8_t[bytes + kAlignment]() : nullptr),
      data_(nullptr),
      size_(bytes),
      device_(device) {
  if (bytes > 0 && device != nullptr) data_ = static_cast<uint8_t*>(device->allocate(bytes));
  if (storage_ != nullptr) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(storage_.get());
    data_ = storage_.get() + (kAlignment - at % kAlignment) % kAlignment;
  }
}

Buffer::~Buffer() {
  if (device_ != nullptr && data_ != nullptr) device_->release(data_);
}

void* SlotScratch::get(int slot, int64_t bytes) {
  Buffer& b = slots_[slot];
  if (b.size() < static_cast<uint64_t>(bytes)) {
    Buffer larger(static_cast<uint64_t>(bytes));
    b.swap(larger);
  }
  return b.data();
}

void* KeptPieces::get(int64_t index, int64_t bytes, bool* fresh) {
  const size_t i = static_cast<size_t>(index);
  if (i >= pieces_.size()) {
    made_.resize(i + 1, false);
    pieces_.resize(i + 1);
  }
  if (pieces_[i].size() != static_cast<uint64_t>(bytes)) {
    Buffer other(static_cast<uint64_t>(bytes));
    pieces_[i].swap(other);
    made_[i] = false;
  }
  *fresh = !made_[i];
  made_[i] = true;
  return pieces_[i].data();
}

void Session::upload(void* to, const void* from, uint64_t bytes) const {
  if (device_ != nullptr) return device_->upload(to, from, bytes);
  std::memcpy(to, from, static_cast<size_t>(bytes));
}

void Session::download(void* to, const void* from, uint64_t bytes) const {
  if (device_ != nullptr) return device_->download(to, from, bytes);
  std::memcpy(to, from, static_cast<size_t>(bytes));
}

void Session::copy(void* to, const void* from, uint64_t bytes) const {
  if (device_ != nullptr) return device_->copy(to, from, bytes);
  std::memcpy(to, from, static_cast<size_t>(bytes));
}

}  // namespace gvm
