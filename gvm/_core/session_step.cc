// What changes parameters: apply, and a whole step of training in one call.
#include <algorithm>
#include <cstring>

#include "session.h"

namespace gvm {

Status Session::run_apply(const std::vector<const int64_t*>& totals, uint64_t seed, uint64_t step,
                          Error* error) {
  const Function& f = program_->functions[kApply];
  std::unique_ptr<Frame> owned = take_frame(kApply, 1);
  Frame* frame = owned.get();
  bind_parameters(kApply, frame);
  size_t v = program_->parameters.types.size();
  for (size_t i = 0; i < program_->state.types.size(); ++i) {
    frame->values[v++].data = state_.data() + program_->state.offsets[i];
  }
  for (const int64_t* t : totals) frame->values[v++].data = const_cast<int64_t*>(t);
  if (next_parameters_.size() != program_->parameters.bytes)
    next_parameters_ = Buffer(program_->parameters.bytes);
  if (next_state_.size() != program_->state.bytes) next_state_ = Buffer(program_->state.bytes);
  // What kernels produce as an output goes straight to its place in the next buffers.
  std::vector<uint8_t*> targets;
  for (size_t i = 0; i < f.outputs.size(); ++i) {
    const bool is_state = i >= program_->parameters.types.size();
    const size_t index = is_state ? i - program_->parameters.types.size() : i;
    targets.push_back((is_state ? next_state_ : next_parameters_).data() +
                      (is_state ? program_->state : program_->parameters).offsets[index]);
    const size_t value = static_cast<size_t>(f.outputs[i]);
    if (frame->plan.alias[value] == f.outputs[i] && frame->plan.offsets[value] >= 0) {
      frame->values[value].data = targets.back();
    }
  }
  bind_views(frame);
  const Status status = run_segment(kApply, frame, 0, Batch{1, 0, 1}, seed, step, error);
  if (status != Status::ok) return status;
  // All new values exist: only now the old ones go.
  for (size_t i = 0; i < f.outputs.size(); ++i) {
    const Tensor& t = frame->values[static_cast<size_t>(f.outputs[i])];
    if (t.data != targets[i]) std::memcpy(targets[i], t.data, static_cast<size_t>(t.bytes()));
  }
  give_frame(kApply, std::move(owned));
  parameters_.swap(next_parameters_);
  state_.swap(next_state_);
  parameters_changed();
  return Status::ok;
}

Status Session::step(const void* const* inputs, const void* const* labels, int64_t n, uint64_t seed,
                     uint64_t step, Error* error) {
  const Function& f = program_->functions[kGrad];
  if (totals_.empty()) {
    std::vector<Buffer> made;
    for (const TotalInfo& t : program_->totals) {
      made.emplace_back(static_cast<uint64_t>(t.type.elements_per_example()) * sizeof(int64_t));
    }
    totals_.swap(made);
  }
  std::vector<const int64_t*> totals;
  for (const Buffer& b : totals_) totals.push_back(reinterpret_cast<const int64_t*>(b.data()));
  std::unique_ptr<Frame> frame = take_frame(kGrad, n);
  bind(kGrad, frame.get(), inputs, labels);
  // One shard is the whole batch: its partial sums are the totals, and are made in their place. The
  // loader has proved their bounds.
  std::vector<std::pair<size_t, void*>> moved;
  size_t first = 0;
  for (size_t s = 0; s < f.segments.size(); ++s) {
    const std::vector<int>& reduce = f.segments[s].reduce;
    size_t earlier = 0;
    for (size_t k = 0; k < s; ++k) {
      for (int v : f.segments[k].totals) {
        frame->values[static_cast<size_t>(v)].data = totals_[earlier++].data();
      }
    }
    for (size_t i = 0; i < reduce.size(); ++i) {
      const size_t v = static_cast<size_t>(reduce[i]);
      const bool again = std::find(reduce.begin(), reduce.begin() + static_cast<ptrdiff_t>(i),
                                   reduce[i]) != reduce.begin() + static_cast<ptrdiff_t>(i);
      if (again || frame->plan.alias[v] != reduce[i] || frame->plan.offsets[v] < 0) continue;
      moved.emplace_back(v, frame->values[v].data);
      frame->values[v].data = totals_[first + i].data();
    }
    bind_views(frame.get());
    const Status status = run_segment(kGrad, frame.get(), s, Batch{n, 0, n}, seed, step, error);
    if (status != Status::ok) return status;
    for (size_t i = 0; i < reduce.size(); ++i) {
      const Tensor& part = frame->values[static_cast<size_t>(reduce[i])];
      uint8_t* to = totals_[first + i].data();
      if (part.data != to) std::memcpy(to, part.data, static_cast<size_t>(part.bytes()));
    }
    first += reduce.size();
  }
  for (const auto& [v, data] : moved) frame->values[v].data = data;
  give_frame(kGrad, std::move(frame));
  return run_apply(totals, seed, step, error);
}

}  // namespace gvm
