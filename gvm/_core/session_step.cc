// What changes parameters: apply, and a whole step of training in one call.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "session.h"

namespace gvm {

namespace {

// How often the nodes of a function read each value.
std::vector<int> count_reads(const Function& f) {
  std::vector<int> reads(f.values.size(), 0);
  for (const Segment& s : f.segments) {
    for (const Node& n : s.nodes) {
      for (int v : n.inputs) ++reads[static_cast<size_t>(v)];
    }
  }
  return reads;
}

// Runs one operator of apply on the sums of a gradient as they come. Operands and results of as
// many elements as the gradient are taken from the same place, others as they are.
class UpdateSink : public Sink {
 public:
  UpdateSink(const Prepared& update, int operand)
      : update_(update), operand_(operand), elements_(update.call.in[operand].elements) {}

  // The caller is a task of the pool: what it runs must not be tasks in turn.
  void take(const int64_t* sums, int64_t n, int64_t element) override {
    for (int64_t done = 0; done < n; done += kRangedElements) {
      update(sums + done, std::min(kRangedElements, n - done), element + done);
    }
  }

  int64_t clamps() const { return clamps_; }
  // The first failure, if there is one.
  const Error& error() const { return error_; }

  static constexpr int kOperands = 8;

 private:
  void update(const int64_t* sums, int64_t n, int64_t element) {
    Tensor in[kOperands], out[kOperands];
    Call call = update_.call;
    for (int i = 0; i < call.inputs; ++i) in[i] = part(call.in[i], element, n);
    for (int i = 0; i < call.op->outputs; ++i) out[i] = part(call.out[i], element, n);
    in[operand_].data = const_cast<int64_t*>(sums);
    int64_t clamps = 0;
    Error error;
    call.in = in;
    call.out = out;
    call.first = element;
    call.clamps = &clamps;
    call.error = &error;
    const Status status = update_.kernel->run(call);
    clamps_ += clamps;
    if (status == Status::ok) return;
    if (error.ok()) error.fail(status, "%s: failed", call.op->name);
    const Lock lock(mutex_);
    if (error_.ok()) error_ = error;
  }

  Tensor part(const Tensor& whole, int64_t element, int64_t n) const {
    Tensor t = whole;
    if (whole.elements != elements_) return t;
    t.data = whole.as<char>() + element * dtype_bytes(whole.type.dtype);
    t.elements = n;
    return t;
  }

  const Prepared& update_;
  const int operand_;
  const int64_t elements_;
  std::atomic<int64_t> clamps_{0};
  Mutex mutex_;
  Error error_;
};

}  // namespace

void Session::begin_apply(Frame* frame, const std::vector<const int64_t*>& totals) {
  const Function& f = program_->functions[kApply];
  const size_t parameters = program_->parameters.types.size();
  bind_parameters(kApply, frame);
  size_t v = parameters;
  for (size_t i = 0; i < program_->state.types.size(); ++i) {
    frame->values[v++].data = state_.data() + program_->state.offsets[i];
  }
  for (const int64_t* t : totals) frame->values[v++].data = const_cast<int64_t*>(t);
  if (next_parameters_.size() != program_->parameters.bytes)
    next_parameters_ = Buffer(program_->parameters.bytes, device_.get());
  if (next_state_.size() != program_->state.bytes)
    next_state_ = Buffer(program_->state.bytes, device_.get());
  // What kernels produce as an output goes straight to its place in the next buffers.
  for (size_t i = 0; i < f.outputs.size(); ++i) {
    if (is_made_in_place(*frame, f.outputs[i])) {
      frame->values[static_cast<size_t>(f.outputs[i])].data = next_place(i);
    }
  }
  bind_views(frame);
}

uint8_t* Session::next_place(size_t output) const {
  const size_t parameters = program_->parameters.types.size();
  if (output < parameters) return next_parameters_.data() + program_->parameters.offsets[output];
  return next_state_.data() + program_->state.offsets[output - parameters];
}

Status Session::run_apply(Frame* frame, const std::vector<bool>& done, uint64_t seed, uint64_t step,
                          Error* error) {
  const std::vector<Step>& steps = frame->plan.steps;
  for (size_t i = 0; i < steps.size(); ++i) {
    if (i < done.size() && done[i]) continue;
    const Status status =
        run_step(kApply, steps[i], &frame->values, Batch{1, 0, 1}, seed, step, error);
    if (status != Status::ok) return status;
  }
  return finish(error) ? Status::ok : error->status;
}

void Session::end_apply(std::unique_ptr<Frame> frame) {
  // All new values exist: only now the old ones go.
  const Function& f = program_->functions[kApply];
  for (size_t i = 0; i < f.outputs.size(); ++i) {
    const Tensor& t = frame->values[static_cast<size_t>(f.outputs[i])];
    if (t.data != next_place(i)) {
      copy(next_place(i), t.data, static_cast<uint64_t>(t.bytes()));
    }
  }
  give_frame(kApply, std::move(frame));
  parameters_.swap(next_parameters_);
  state_.swap(next_state_);
  parameters_changed();
}

// A gradient may go straight into its update where nothing else reads it, the kernels of both can
// do so, and all else that the update reads is there before.
std::vector<DirectUpdate> Session::direct_updates(const Frame& grad, const Frame& apply,
                                                  uint64_t wanted) const {
  const Function &f = program_->functions[kGrad], &g = program_->functions[kApply];
  const std::vector<int> reads = count_reads(f), apply_reads = count_reads(g);
  std::vector<size_t> maker(f.values.size(), SIZE_MAX);  // the step of grad that makes a value
  for (size_t i = 0; i < grad.plan.steps.size(); ++i) {
    const Step& step = grad.plan.steps[i];
    if (step.convert >= 0) continue;
    const Segment& segment = f.segments[static_cast<size_t>(step.segment)];
    for (int v : segment.nodes[static_cast<size_t>(step.node)].outputs) {
      maker[static_cast<size_t>(v)] = i;
    }
  }
  std::vector<int> reduced(f.values.size(), 0);  // how often, in all segments
  for (const Segment& s : f.segments) {
    for (int v : s.reduce) ++reduced[static_cast<size_t>(v)];
  }
  // Each total: its partial sums in grad, and the step they are known after.
  struct Total {
    int part;
    size_t known;
    bool only_applied;
  };
  std::vector<Total> totals;
  for (const Segment& s : f.segments) {
    for (size_t i = 0; i < s.reduce.size(); ++i) {
      const size_t v = static_cast<size_t>(s.reduce[i]);
      const bool once = reduced[v] == 1;
      const bool direct = once && is_made_in_place(grad, s.reduce[i]) && maker[v] != SIZE_MAX;
      const size_t end = grad.plan.first_step[static_cast<size_t>(&s - f.segments.data()) + 1];
      totals.push_back({s.reduce[i], direct ? maker[v] : end,
                        direct && reads[v] == 0 && reads[static_cast<size_t>(s.totals[i])] == 0});
    }
  }
  const int first_total =
      static_cast<int>(program_->parameters.types.size() + program_->state.types.size());
  std::vector<DirectUpdate> found;
  for (size_t a = 0; a < apply.plan.steps.size(); ++a) {
    const Node& update = g.segments[0].nodes[static_cast<size_t>(apply.plan.steps[a].node)];
    if (!kernel(*update.op).ranged || update.inputs.size() > UpdateSink::kOperands) continue;
    bool plain = true;
    for (int v : update.outputs) {
      plain = plain && is_made_in_place(apply, v) && apply_reads[static_cast<size_t>(v)] == 0 &&
              std::count(g.outputs.begin(), g.outputs.end(), v) == 1;
    }
    for (int v : update.inputs) plain = plain && v < g.given;
    if (!plain) continue;
    for (size_t o = 0; o < update.inputs.size(); ++o) {
      const int v = update.inputs[o] - first_total;
      if (v < 0) continue;
      const Total& total = totals[static_cast<size_t>(v)];
      if (!total.only_applied || program_->totals[static_cast<size_t>(v)].offset < wanted ||
          apply_reads[static_cast<size_t>(update.inputs[o])] != 1 ||
          std::count(g.outputs.begin(), g.outputs.end(), update.inputs[o]) != 0) {
        continue;
      }
      const Step& gradient = grad.plan.steps[total.known];
      const Node& node = f.segments[static_cast<size_t>(gradient.segment)]
                             .nodes[static_cast<size_t>(gradient.node)];
      bool known = kernel(*node.op).sinks;
      for (size_t k = 0; k < update.inputs.size(); ++k) {
        const int other = update.inputs[k] - first_total;
        known = known &&
                (k == o || other < 0 || totals[static_cast<size_t>(other)].known < total.known);
      }
      if (!known) continue;
      found.push_back({total.known, a, static_cast<int>(o)});
      break;
    }
  }
  return found;
}

void Session::read_totals(int64_t* totals, size_t count) const {
  for (const Buffer& b : totals_) {
    const size_t some = std::min(count, static_cast<size_t>(b.size() / sizeof(int64_t)));
    if (some == 0) break;
    download(totals, b.data(), some * sizeof(int64_t));
    totals += some;
    count -= some;
  }
}

Status Session::step(const void* const* inputs, const void* const* labels, int64_t n, uint64_t seed,
                     uint64_t step, uint64_t wanted, Error* error, Claims* claims) {
  const Function& f = program_->functions[kGrad];
  std::unique_ptr<Frame> frame = take_frame(kGrad, n), apply = take_frame(kApply, 1);
  const std::vector<DirectUpdate> updates = direct_updates(*frame, *apply, wanted);
  std::vector<const DirectUpdate*> update_of(frame->plan.steps.size(), nullptr);
  std::vector<bool> done(apply->plan.steps.size(), false);
  for (const DirectUpdate& u : updates) {
    update_of[u.gradient] = &u;
    done[u.update] = true;
  }
  bind(kGrad, frame.get(), inputs, labels);

  // One shard is the whole batch: its partial sums are the totals, and are made in their place. The
  // loader has proved their bounds.
  totals_.resize(program_->totals.size());
  std::vector<const int64_t*> totals;
  std::vector<std::pair<size_t, void*>> moved;
  for (const Segment& s : f.segments) {
    for (size_t i = 0; i < s.reduce.size(); ++i) {
      const size_t v = static_cast<size_t>(s.reduce[i]);
      Buffer& total = totals_[totals.size()];
      const bool direct = std::any_of(updates.begin(), updates.end(), [&](const DirectUpdate& u) {
        const Step& at = frame->plan.steps[u.gradient];
        return f.segments[static_cast<size_t>(at.segment)]
                   .nodes[static_cast<size_t>(at.node)]
                   .outputs[0] == s.reduce[i];
      });
      if (!direct && total.size() == 0) {
        Buffer made(static_cast<uint64_t>(frame->values[v].bytes()), device_.get());
        total.swap(made);
      }
      uint8_t* const to = direct ? nullptr : total.data();
      totals.push_back(reinterpret_cast<const int64_t*>(to));
      const bool again = std::any_of(moved.begin(), moved.end(),
                                     [v](const auto& other) { return other.first == v; });
      if (direct || again || !is_made_in_place(*frame, s.reduce[i])) continue;
      moved.emplace_back(v, frame->values[v].data);
      frame->values[v].data = to;
    }
  }
  begin_apply(apply.get(), totals);

  std::vector<std::pair<int64_t*, int64_t>> clamps;  // to be counted if all goes well
  size_t first = 0;
  const Batch batch{n, 0, n};
  for (size_t s = 0; s < f.segments.size(); ++s) {
    bind_views(frame.get());
    const Status constant = run_constants(kGrad, frame.get(), 0, error);
    if (constant != Status::ok) return constant;
    for (size_t i = frame->plan.first_step[s]; i < frame->plan.first_step[s + 1]; ++i) {
      const Step& at = frame->plan.steps[i];
      Status status = Status::ok;
      if (update_of[i] == nullptr) {
        status = run_step(kGrad, at, &frame->values, batch, seed, step, error, nullptr, claims);
      } else {
        Prepared update;
        prepare(kApply, apply->plan.steps[update_of[i]->update], &apply->values, Batch{1, 0, 1},
                seed, step, error, &update);
        UpdateSink sink(update, update_of[i]->operand);
        status = run_step(kGrad, at, &frame->values, batch, seed, step, error, &sink, claims);
        if (!sink.error().ok()) *error = sink.error();
        clamps.emplace_back(update.call.clamps, sink.clamps());
      }
      if (status != Status::ok || !error->ok()) return error->status;
    }
    for (size_t i = 0; i < f.segments[s].reduce.size(); ++i, ++first) {
      const Tensor& part = frame->values[static_cast<size_t>(f.segments[s].reduce[i])];
      void* to = const_cast<int64_t*>(totals[first]);
      if (to != nullptr && part.data != to) {
        copy(to, part.data, static_cast<uint64_t>(part.bytes()));
      }
      frame->values[static_cast<size_t>(f.segments[s].totals[i])].data = to;
    }
  }
  for (const auto& [v, data] : moved) frame->values[v].data = data;
  give_frame(kGrad, std::move(frame));
  const Status status = run_apply(apply.get(), done, seed, step, error);
  if (status != Status::ok) {
    if (device_ != nullptr) constants_valid_[kGrad] = false;  // they may be what has failed
    return status;
  }
  for (const auto& [place, count] : clamps) *place += count;
  end_apply(std::move(apply));
  return Status::ok;
}

}  // namespace gvm
