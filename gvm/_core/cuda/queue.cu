#include "cuda/queue.h"

namespace gvm {

CudaQueue::CudaQueue(int index) : runtime_(index) {
  void* memory = nullptr;
  note(runtime_.allocate(&memory, kCounters * sizeof(int64_t)));
  counters_ = static_cast<int64_t*>(memory);
  memory = nullptr;
  note(runtime_.allocate(&memory, kFaults * sizeof(Fault)));
  faults_ = static_cast<Fault*>(memory);
}

CudaQueue::~CudaQueue() {
  runtime_.wait();
  for (void* piece : scratch_) runtime_.release(piece);
  for (const auto& piece : resident_) runtime_.release(piece.second);
  runtime_.release(counters_);
  runtime_.release(faults_);
}

void CudaQueue::note(bool done) {
  if (done || !error_.ok()) return;
  error_.fail(runtime_.out_of_memory() ? Status::out_of_memory : Status::internal, "cuda: %s",
              runtime_.failure_text());
}

void* CudaQueue::scratch(int slot, int64_t bytes) {
  if (scratch_bytes_[slot] < bytes) {
    runtime_.release(scratch_[slot]);
    scratch_[slot] = nullptr;
    scratch_bytes_[slot] = 0;
    scratch_[slot] = runtime_.memory(static_cast<uint64_t>(bytes));
    scratch_bytes_[slot] = bytes;
  }
  return scratch_[slot];
}

int64_t* CudaQueue::counter(int64_t* owner) {
  if (owners_.size() == kCounters) gather();
  if (owners_.empty()) clear(counters_, kCounters * sizeof(int64_t));
  owners_.push_back(owner);
  return counters_ + owners_.size() - 1;
}

Fault* CudaQueue::fault(const Call& call, Rule rule, int64_t limit) {
  if (watches_.size() == kFaults) gather();
  if (watches_.empty()) {
    const std::vector<Fault> none(kFaults, Fault{~uint64_t{0}, 0});
    note(runtime_.upload(faults_, none.data(), kFaults * sizeof(Fault)));
  }
  watches_.push_back({call.op, rule, limit});
  return faults_ + watches_.size() - 1;
}

void CudaQueue::gather() {
  if (!owners_.empty()) {
    std::vector<int64_t> counts(owners_.size());
    note(runtime_.download(counts.data(), counters_, counts.size() * sizeof(int64_t)));
    for (size_t i = 0; i < counts.size(); ++i) *owners_[i] += counts[i];
    owners_.clear();
  }
  if (watches_.empty()) return;
  std::vector<Fault> found(watches_.size());
  note(runtime_.download(found.data(), faults_, found.size() * sizeof(Fault)));
  for (size_t i = 0; i < found.size() && error_.ok(); ++i) {
    if (found[i].first == ~uint64_t{0}) continue;
    const Watch& watch = watches_[i];
    const int element = static_cast<int32_t>(static_cast<uint32_t>(found[i].first));
    const long long limit = watch.limit, value = found[i].value;
    const char* const name = watch.op->name;
    switch (watch.rule) {
      case Rule::label:
        error_.fail(Status::bad_input, "%s: label must be in [0, %lld), received %d", name, limit,
                    element);
        break;
      case Rule::index:
        error_.fail(Status::bad_input, "%s: index must be in [0, %lld), received %d", name, limit,
                    element);
        break;
      case Rule::most:
        error_.fail(Status::bad_input, "%s: count must be at most 2^22, received %lld", name,
                    value);
        break;
      case Rule::least:
        error_.fail(Status::bad_input, "%s: count must be at least %lld, received %lld", name,
                    limit, value);
        break;
    }
  }
  watches_.clear();
}

bool CudaQueue::collect(Error* error) {
  gather();
  note(runtime_.wait());
  const Error first = error_;
  error_ = Error();
  return first.ok() || error->fail(first.status, "%s", first.message.c_str());
}

const void* CudaQueue::resident(const std::vector<int>& key, const void* data, uint64_t bytes) {
  void*& memory = resident_[key];
  if (memory == nullptr) {
    memory = runtime_.memory(bytes);
    note(runtime_.upload(memory, data, bytes));
  }
  return memory;
}

DeviceTable CudaQueue::unary_table(int function, int in_bits, int out_bits, int bits) {
  const UnaryTable* table = tables_.unary(function, in_bits, out_bits, bits);
  DeviceTable there = {nullptr, nullptr, nullptr};
  if (table == nullptr) {
    error_.fail(Status::internal, "unary: no table of function %d", function);
    return there;
  }
  const auto key = [&](int part) {
    return std::vector<int>{part, function, in_bits, out_bits, bits};
  };
  if (!table->narrow.empty()) {
    there.narrow = static_cast<const int16_t*>(
        resident(key(0), table->narrow.data(), table->narrow.size() * sizeof(int16_t)));
  }
  if (!table->wide.empty()) {
    there.wide = static_cast<const int32_t*>(
        resident(key(1), table->wide.data(), table->wide.size() * sizeof(int32_t)));
  }
  if (!table->clamped.empty()) {
    there.clamped =
        static_cast<const uint8_t*>(resident(key(2), table->clamped.data(), table->clamped.size()));
  }
  return there;
}

const Exponentials* CudaQueue::exponentials(int fraction_bits) {
  const Exponentials* tables = tables_.exponentials(fraction_bits);
  if (tables == nullptr) {
    error_.fail(Status::internal, "no exponentials of %d fraction bits", fraction_bits);
    return nullptr;
  }
  return static_cast<const Exponentials*>(resident({3, fraction_bits}, tables, sizeof *tables));
}

}  // namespace gvm
