// A program on this machine: parameters, state, plans and the interpreter over the CPU kernels.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/form.h"
#include "cpu/kernel.h"
#include "device.h"
#include "plan.h"
#include "program.h"

namespace gvm {

// 64-byte aligned memory, zeroed: this machine's, or a device's, which outlives it.
class Buffer {
 public:
  explicit Buffer(uint64_t bytes = 0, Device* device = nullptr);
  Buffer(Buffer&& other) noexcept : Buffer() { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer();
  uint8_t* data() const { return data_; }
  uint64_t size() const { return size_; }
  void swap(Buffer& other) {
    storage_.swap(other.storage_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(device_, other.device_);
  }

 private:
  std::unique_ptr<uint8_t[]> storage_;
  uint8_t* data_;
  uint64_t size_;
  Device* device_;
};

class SlotScratch : public Scratch {
 public:
  void* get(int slot, int64_t bytes) override;

 private:
  Buffer slots_[4];
};

class KeptPieces : public Kept {
 public:
  void* get(int64_t index, int64_t bytes, bool* fresh) override;
  void invalidate() { made_.assign(made_.size(), false); }

 private:
  std::vector<Buffer> pieces_;
  std::vector<bool> made_;
};

// Which kernels exist is known to the backend alone.
const Kernel& cpu_kernel(const OpInfo& op);
PlanTraits cpu_plan_traits();

struct Options {
  int threads = 0;     // 0: one per processor
  int cpu_level = -1;  // -1: the best here, capped by GVM_CPU
};

// What executes: a CPU level with so many threads, or a device.
struct Target {
  CpuLevel level = CpuLevel::scalar;
  int threads = 1;
  int device = -1;  // index, or -1: the CPU
};
// The level to run at, or false when GVM_CPU or the request names one this machine lacks.
bool resolve_cpu_level(int requested, CpuLevel* level, Error* error);

// Points a tensor of this type at memory, for a local batch.
void set_tensor(Tensor* tensor, const Type& type, int64_t local, void* data);

// Whether the bool tensors among these are 0 or 1 throughout.
bool check_booleans(const std::vector<Type>& types, const char* what, const void* const* data,
                    int64_t batch, Error* error);

// Executes one judged node by itself.
Status run_operator(const OpInfo& op, const Attributes& attributes, const std::vector<Tensor>& in,
                    std::vector<Tensor>* out, const Batch& batch, uint64_t seed, uint64_t step,
                    uint32_t site, const Target& target, int64_t* clamps, Error* error);

// The values of one execution of one function for a fixed batch.
struct Frame {
  Plan plan;
  Buffer arena;
  std::vector<Buffer> given;  // inputs and labels, where a device needs a copy of its own
  std::vector<Tensor> values;
  int64_t batch = 0;
};

// What one step of a function took, for people: a node and those fused behind it (-1: none), when,
// in nanoseconds of a steady clock, and the tiles of its products.
struct StepTime {
  FunctionKind function;
  int nodes[4];
  int64_t begin, end;
  RouteCounts routes;
};

// The call of one step and what it points to; stays where it is.
struct Prepared {
  const Kernel* kernel = nullptr;
  std::vector<Tensor> in, out;
  Fused fused;
  Call call;
};

// A step of grad whose sums go straight into a step of apply, and nowhere else (session_step.cc).
struct DirectUpdate {
  size_t gradient, update;  // steps of grad and apply
  int operand;              // of the update: the gradient
};

// Claims of what products of grad are, by node, and what their check has found.
struct Claims {
  std::map<size_t, Claim> of_node;
  uint8_t key[kKeyBytes] = {};
  uint32_t checked = 0;
  Finding finding;  // in which node, if one is wrong
  size_t node = 0;
};

// Whether a value has memory of its own in the arena, not that of another value or of a constant.
bool is_made_in_place(const Frame& frame, int value);

// Points the views of a frame where the values they share memory with point.
void bind_views(Frame* frame);

struct Shard;

class Session {
 public:
  // On the device, if there is one; else on the CPU.
  Session(std::shared_ptr<const Program> program, const Target& target,
          std::unique_ptr<Device> device);

  const Program& program() const { return *program_; }
  bool write(bool state, const uint8_t* bytes, size_t size, Error* error);
  bool read(bool state, uint8_t* bytes, size_t size, Error* error) const;

  Status predict(const void* const* inputs, int64_t n, void* const* outputs, Error* error);
  // sums: the two or three partial scalars, added to.
  Status loss(const void* const* inputs, const void* const* labels, int64_t n, int64_t* sums,
              Error* error);
  Status apply(const int64_t* totals, uint64_t seed, uint64_t step, Error* error);
  // grad over n examples that are the whole batch, and apply. totals() then holds the totals whose
  // first element is below `wanted`.
  Status step(const void* const* inputs, const void* const* labels, int64_t n, uint64_t seed,
              uint64_t step, uint64_t wanted, Error* error, Claims* claims = nullptr);
  // Whether a node of grad is a product that has so many elements.
  bool accept_claim(size_t node, int64_t examples, uint64_t elements, Error* error) const;
  bool has_device() const { return device_ != nullptr; }
  // The first `count` totals of the last step(), in the program's order.
  void read_totals(int64_t* totals, size_t count) const;

  // A frame for this batch: the spare one where it fits. give_frame keeps it for the next.
  std::unique_ptr<Frame> take_frame(FunctionKind kind, int64_t batch);
  // Counts the changes of parameters and state.
  uint64_t version() const { return version_; }
  void give_frame(FunctionKind kind, std::unique_ptr<Frame> frame) {
    frames_[kind] = std::move(frame);
  }
  void bind(FunctionKind kind, Frame* frame, const void* const* inputs, const void* const* labels);
  // Runs the shard's next segment of grad and adds its partial sums; only on success, and after a
  // failure no further one.
  Status run_shard(Shard* shard, const int64_t* totals, int64_t* sums, Error* error);

  // Times every step from here on, kMaxTimes at most, or no more; forgets what was measured.
  static constexpr size_t kMaxTimes = size_t{1} << 20;
  void set_profile(bool on) {
    profiling_ = on;
    times_.clear();
  }
  const std::vector<StepTime>& times() const { return times_; }

  const std::vector<int64_t>& clamps(FunctionKind kind) const { return clamps_[kind]; }
  std::string describe_plan(FunctionKind kind, int64_t batch);

 private:
  const Kernel& kernel(const OpInfo& op) const {
    return device_ != nullptr ? device_->kernel(op) : cpu_kernel(op);
  }
  // Between this machine and where values lie.
  void upload(void* to, const void* from, uint64_t bytes) const;
  void download(void* to, const void* from, uint64_t bytes) const;
  void copy(void* to, const void* from, uint64_t bytes) const;
  // Whether all that was begun has ended well.
  bool finish(Error* error) const { return device_ == nullptr || device_->finish(error); }
  void bind_given(Frame* frame, size_t value, const void* data);

  enum class Variant { unknown, whole, without_constants, plain };

  Plan make_plan(FunctionKind kind, int64_t batch, Variant variant) const;
  // The quickest plan whose memory at max_batch is within the program's limit.
  Variant choose_variant(FunctionKind kind);
  std::unique_ptr<Frame> new_frame(FunctionKind kind, int64_t batch);
  // Whether integers that come from outside are what the loader's proofs take them for.
  bool check_totals(const int64_t* totals, uint32_t segments, Error* error) const;
  Status run_segment(FunctionKind kind, Frame* frame, size_t segment, const Batch& batch,
                     uint64_t seed, uint64_t step, Error* error);
  // Makes the call of a step, which points into *to; false: there is nothing to run.
  bool prepare(FunctionKind kind, const Step& step, std::vector<Tensor>* values, const Batch& batch,
               uint64_t seed, uint64_t step_number, Error* error, Prepared* to);
  Status run_step(FunctionKind kind, const Step& step, std::vector<Tensor>* values,
                  const Batch& batch, uint64_t seed, uint64_t step_number, Error* error,
                  Sink* sink = nullptr, Claims* claims = nullptr);
  // The call of a step of grad, checked where it is claimed; a wrong claim is a failure.
  Status run_with_claim(const Step& step, const Prepared& made, Claims* claims);
  // offset: that of the shard which needs them, for counting clamps.
  Status run_constants(FunctionKind kind, Frame* frame, int64_t offset, Error* error);
  void bind_parameters(FunctionKind kind, Frame* frame);
  // What was computed from the parameters is no longer theirs.
  void parameters_changed();
  // apply on totals within their bounds, one array each: binds the frame, with the new parameters
  // and state in the next buffers; runs the steps that are not in `done`; makes them the session's.
  uint8_t* next_place(size_t output) const;  // of an output of apply
  void begin_apply(Frame* frame, const std::vector<const int64_t*>& totals);
  Status run_apply(Frame* frame, const std::vector<bool>& done, uint64_t seed, uint64_t step,
                   Error* error);
  void end_apply(std::unique_ptr<Frame> frame);
  std::vector<DirectUpdate> direct_updates(const Frame& grad, const Frame& apply,
                                           uint64_t wanted) const;

  std::shared_ptr<const Program> program_;
  std::unique_ptr<Device> device_;  // outlives every buffer below
  const CpuKernels* cpu_;
  Threads threads_;
  SlotScratch scratch_;
  TableCache tables_;
  Buffer parameters_, state_, next_parameters_, next_state_;
  std::vector<Buffer> totals_;
  uint64_t version_ = 0;
  // Of the last shard that began; weights are kept for a second one with the same.
  uint64_t grad_version_ = ~uint64_t{0};
  bool grad_keeps_ = false;
  int64_t counted_elsewhere_ = 0;
  bool profiling_ = false;
  std::vector<StepTime> times_;
  Variant variants_[kFunctions] = {};
  Buffer constants_[kFunctions];
  bool constants_valid_[kFunctions] = {};
  std::map<size_t, KeptPieces> kept_[kFunctions];  // by node
  std::unique_ptr<Frame> frames_[kFunctions];      // reused while the batch stays the same
  std::vector<int64_t> clamps_[kFunctions];
};

// One micro-batch of one step of grad.
struct Shard {
  Session* session;
  std::unique_ptr<Frame> frame;
  Batch batch;
  uint64_t seed, step;
  uint64_t version;  // of the session when it began
  size_t next_segment = 0;
  bool failed = false;
};

}  // namespace gvm
