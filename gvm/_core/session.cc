#include "session.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>

#include "sums.h"

namespace gvm {

namespace {

int64_t now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(since).count();
}

}  // namespace

void set_tensor(Tensor* tensor, const Type& type, int64_t local, void* data) {
  tensor->type = type;
  tensor->data = data;
  for (int i = 0; i < type.rank; ++i)
    tensor->dims[i] = type.dims[i] == kBatch ? local : type.dims[i];
  tensor->elements = type.elements().at(local);
}

bool check_booleans(const std::vector<Type>& types, const char* what, const void* const* data,
                    int64_t batch, Error* error) {
  for (size_t i = 0; i < types.size(); ++i) {
    if (types[i].dtype != DType::boolean) continue;
    const uint8_t* bytes = static_cast<const uint8_t*>(data[i]);
    for (int64_t e = 0; e < types[i].elements().at(batch); ++e) {
      if (bytes[e] <= 1) continue;
      return error->fail(Status::bad_input, "%s %zu: a bool must be 0 or 1, received %d", what, i,
                         bytes[e]);
    }
  }
  return true;
}

bool is_made_in_place(const Frame& frame, int value) {
  const size_t v = static_cast<size_t>(value);
  return frame.plan.alias[v] == value && frame.plan.offsets[v] >= 0;
}

// Views point where the value they share memory with points.
void bind_views(Frame* frame) {
  for (size_t i = 0; i < frame->values.size(); ++i) {
    const size_t root = static_cast<size_t>(frame->plan.alias[i]);
    if (root != i) frame->values[i].data = frame->values[root].data;
  }
}

Session::Session(std::shared_ptr<const Program> program, const Target& target,
                 std::unique_ptr<Device> device)
    : program_(std::move(program)),
      device_(std::move(device)),
      cpu_(&cpu_kernels(target.level)),
      threads_(target.threads),
      parameters_(program_->parameters.bytes, device_.get()),
      state_(program_->state.bytes, device_.get()) {
  for (int k = 0; k < kFunctions; ++k) clamps_[k].assign(program_->functions[k].node_count(), 0);
}

bool Session::write(bool state, const uint8_t* bytes, size_t size, Error* error) {
  const Layout& layout = state ? program_->state : program_->parameters;
  if (!check_buffer(layout, state ? "state" : "parameters", bytes, size, error)) return false;
  uint8_t* const to = (state ? state_ : parameters_).data();
  if (device_ == nullptr) {
    decode_buffer(layout, bytes, to);
  } else {
    const Buffer decoded(layout.bytes);
    decode_buffer(layout, bytes, decoded.data());
    device_->upload(to, decoded.data(), layout.bytes);
  }
  parameters_changed();
  return true;
}

void Session::parameters_changed() {
  for (bool& valid : constants_valid_) valid = false;
  for (auto& nodes : kept_) {
    for (auto& node : nodes) node.second.invalidate();
  }
  ++version_;
}

bool Session::read(bool state, uint8_t* bytes, size_t size, Error* error) const {
  const Layout& layout = state ? program_->state : program_->parameters;
  if (size != layout.bytes) {
    return error->fail(
        Status::bad_parameters, "%s: the buffer has %llu bytes, received room for %zu",
        state ? "state" : "parameters", static_cast<unsigned long long>(layout.bytes), size);
  }
  const Buffer& from = state ? state_ : parameters_;
  if (device_ == nullptr) {
    encode_buffer(layout, from.data(), bytes);
  } else {
    const Buffer fetched(layout.bytes);
    device_->download(fetched.data(), from.data(), layout.bytes);
    encode_buffer(layout, fetched.data(), bytes);
  }
  return true;
}

Plan Session::make_plan(FunctionKind kind, int64_t batch, Variant variant) const {
  // The parameters are the values whose shared descendants stay the same between updates.
  int first = 0, last = 0;
  if (kind != kApply && variant == Variant::whole) {
    first = static_cast<int>(program_->inputs.size() +
                             (kind == kPredict ? 0 : program_->labels.size()));
    last = first + static_cast<int>(program_->parameters.types.size());
  }
  PlanTraits traits = device_ != nullptr ? device_->plan_traits() : cpu_plan_traits();
  if (variant == Variant::plain) {
    traits.epilogue = nullptr;
    traits.converts = nullptr;
    traits.in_place = nullptr;
    traits.view = nullptr;
  }
  return plan_memory(program_->functions[kind], batch, traits, first, last);
}

Session::Variant Session::choose_variant(FunctionKind kind) {
  if (variants_[kind] != Variant::unknown) return variants_[kind];
  variants_[kind] = Variant::plain;
  for (const Variant variant : {Variant::whole, Variant::without_constants}) {
    const Plan plan = make_plan(kind, program_->max_batch, variant);
    if (plan.constant_bytes <= program_->memory_bytes &&
        plan.arena_bytes <= program_->memory_bytes - plan.constant_bytes) {
      variants_[kind] = variant;
      break;
    }
  }
  return variants_[kind];
}

std::unique_ptr<Frame> Session::new_frame(FunctionKind kind, int64_t batch) {
  const Function& f = program_->functions[kind];
  auto frame = std::make_unique<Frame>();
  frame->batch = batch;
  frame->plan = make_plan(kind, batch, choose_variant(kind));
  frame->arena = Buffer(frame->plan.arena_bytes, device_.get());
  frame->values.resize(f.values.size());
  // Constants have one size and place for every batch, so frames that live stay valid.
  if (constants_[kind].size() != frame->plan.constant_bytes) {
    constants_[kind] = Buffer(frame->plan.constant_bytes, device_.get());
  }
  for (size_t v = 0; v < f.values.size(); ++v) {
    Tensor& t = frame->values[v];
    set_tensor(&t, f.values[v], batch, nullptr);
    const size_t root = static_cast<size_t>(frame->plan.alias[v]);
    if (frame->plan.offsets[root] >= 0) {
      t.data = frame->arena.data() + frame->plan.offsets[root];
    } else if (frame->plan.constant_offsets[root] >= 0) {
      t.data = constants_[kind].data() + frame->plan.constant_offsets[root];
    }
  }
  return frame;
}

std::unique_ptr<Frame> Session::take_frame(FunctionKind kind, int64_t batch) {
  std::unique_ptr<Frame> spare = std::move(frames_[kind]);
  if (spare != nullptr && spare->batch == batch) return spare;
  spare.reset();
  return new_frame(kind, batch);
}

void Session::bind_parameters(FunctionKind kind, Frame* frame) {
  const size_t first =
      kind == kApply ? 0
                     : program_->inputs.size() + (kind == kPredict ? 0 : program_->labels.size());
  for (size_t i = 0; i < program_->parameters.types.size(); ++i) {
    frame->values[first + i].data = parameters_.data() + program_->parameters.offsets[i];
  }
}

void Session::bind_given(Frame* frame, size_t value, const void* data) {
  Tensor& t = frame->values[value];
  if (device_ == nullptr) {
    t.data = const_cast<void*>(data);
    return;
  }
  if (frame->given.size() <= value) frame->given.resize(value + 1);
  const uint64_t bytes = static_cast<uint64_t>(t.bytes());
  if (frame->given[value].size() != bytes) frame->given[value] = Buffer(bytes, device_.get());
  t.data = frame->given[value].data();
  device_->upload(t.data, data, bytes);
}

void Session::bind(FunctionKind kind, Frame* frame, const void* const* inputs,
                   const void* const* labels) {
  size_t v = 0;
  for (size_t i = 0; i < program_->inputs.size(); ++i) bind_given(frame, v++, inputs[i]);
  if (kind != kPredict) {
    for (size_t i = 0; i < program_->labels.size(); ++i) bind_given(frame, v++, labels[i]);
  }
  bind_parameters(kind, frame);
  bind_views(frame);
}

bool Session::prepare(FunctionKind kind, const Step& step, std::vector<Tensor>* values,
                      const Batch& batch, uint64_t seed, uint64_t step_number, Error* error,
                      Prepared* to) {
  const Function& f = program_->functions[kind];
  const Segment& segment = f.segments[static_cast<size_t>(step.segment)];
  const Node& node = segment.nodes[static_cast<size_t>(step.node)];
  size_t counter = segment.first_node + static_cast<size_t>(step.node);
  to->kernel = &kernel(*node.op);
  for (int v : node.inputs) to->in.push_back((*values)[static_cast<size_t>(v)]);
  for (int v : node.outputs) to->out.push_back((*values)[static_cast<size_t>(v)]);
  // In a plain plan, which is as large as the cost says, a view has a place of its own.
  if (to->kernel->view && to->in[0].data == to->out[0].data) return false;
  Call& call = to->call;
  call.op = node.op;
  call.attributes = &node.attributes;
  call.in = to->in.data();
  call.inputs = static_cast<int>(to->in.size());
  call.out = to->out.data();
  call.batch = batch;
  call.seed = seed;
  call.step = step_number;
  call.site = node.site;
  call.threads = &threads_;
  call.cpu = cpu_;
  call.scratch = &scratch_;
  call.tables = &tables_;
  call.error = error;
  if (step.convert >= 0) {
    Fused& fused = to->fused;
    const Node& convert = segment.nodes[static_cast<size_t>(step.convert)];
    if (step.bias >= 0) {
      fused.bias =
          &(*values)[static_cast<size_t>(segment.nodes[static_cast<size_t>(step.bias)].inputs[1])];
    }
    fused.convert = true;
    fused.rounding =
        static_cast<Rounding>(convert.attributes.get(convert.op->attribute("rounding")));
    fused.site = convert.site;
    fused.fraction_bits_in = f.values[static_cast<size_t>(convert.inputs[0])].fraction_bits;
    int result = convert.outputs[0];
    if (step.relu >= 0) {
      fused.relu = true;
      result = segment.nodes[static_cast<size_t>(step.relu)].outputs[0];
    }
    to->out[0] = (*values)[static_cast<size_t>(result)];
    call.fused = &fused;
    counter += static_cast<size_t>(step.convert - step.node);
  }
  // In training the weights are mostly another time's before they are read again.
  if (step.keeps && (kind != kGrad || grad_keeps_)) {
    call.kept = &kept_[kind][segment.first_node + static_cast<size_t>(step.node)];
  }
  // A value without a batch is computed in every shard; the shard of the first example counts it.
  const bool counted = to->out[0].type.batched() || batch.offset == 0;
  call.clamps = counted ? &clamps_[kind][counter] : &counted_elsewhere_;
  if (device_ != nullptr) device_->prepare(&call);
  return true;
}

Status Session::run_step(FunctionKind kind, const Step& step, std::vector<Tensor>* values,
                         const Batch& batch, uint64_t seed, uint64_t step_number, Error* error,
                         Sink* sink, Claims* claims) {
  Prepared made;
  if (!prepare(kind, step, values, batch, seed, step_number, error, &made)) return Status::ok;
  made.call.sink = sink;
  const bool timed = profiling_ && times_.size() < kMaxTimes;
  StepTime time = {};
  if (timed) {
    made.call.routes = &time.routes;
    time.begin = now();
  }
  Status status =
      claims == nullptr ? made.kernel->run(made.call) : run_with_claim(step, made, claims);
  if (timed) {
    if (!finish(error)) status = error->status;
    time.end = now();
    time.function = kind;
    const size_t first =
        program_->functions[kind].segments[static_cast<size_t>(step.segment)].first_node;
    int* node = time.nodes;
    for (int i : {step.node, step.bias, step.convert, step.relu}) {
      *node++ = i < 0 ? -1 : static_cast<int>(first) + i;
    }
    times_.push_back(time);
  }
  if (status != Status::ok && error->ok()) error->fail(status, "%s: failed", made.call.op->name);
  return status;
}

Status Session::run_constants(FunctionKind kind, Frame* frame, int64_t offset, Error* error) {
  if (constants_valid_[kind]) return Status::ok;
  for (const Step& step : frame->plan.constant_steps) {
    const Status status = run_step(kind, step, &frame->values, Batch{1, offset, 1}, 0, 0, error);
    if (status != Status::ok) return status;
  }
  constants_valid_[kind] = true;
  return Status::ok;
}

Status Session::run_segment(FunctionKind kind, Frame* frame, size_t segment, const Batch& batch,
                            uint64_t seed, uint64_t step, Error* error) {
  const Status status = run_constants(kind, frame, batch.offset, error);
  if (status != Status::ok) return status;
  const Plan& plan = frame->plan;
  for (size_t i = plan.first_step[segment]; i < plan.first_step[segment + 1]; ++i) {
    const Status done = run_step(kind, plan.steps[i], &frame->values, batch, seed, step, error);
    if (done != Status::ok) return done;
  }
  if (finish(error)) return Status::ok;
  constants_valid_[kind] = false;  // they may be what has failed
  return error->status;
}

bool Session::check_totals(const int64_t* totals, uint32_t segments, Error* error) const {
  for (const TotalInfo& t : program_->totals) {
    if (t.segment >= segments) break;
    const int64_t* q = totals + t.offset;
    const int64_t n = t.type.elements_per_example();
    const int64_t bad = first_outside(q, n, t.type.bound);
    if (bad == n) continue;
    return error->fail(
        Status::bad_input, "totals: element %llu must be at most %llu in size, received %lld",
        static_cast<unsigned long long>(t.offset) + static_cast<unsigned long long>(bad),
        static_cast<unsigned long long>(t.type.bound), static_cast<long long>(q[bad]));
  }
  return true;
}

namespace {

// Whether two pieces of memory have no byte in common.
bool are_apart(const void* a, int64_t a_bytes, const void* b, int64_t b_bytes) {
  const uintptr_t x = reinterpret_cast<uintptr_t>(a), y = reinterpret_cast<uintptr_t>(b);
  return x + static_cast<uint64_t>(a_bytes) <= y || y + static_cast<uint64_t>(b_bytes) <= x;
}

}  // namespace

Status Session::predict(const void* const* inputs, int64_t n, void* const* outputs, Error* error) {
  std::unique_ptr<Frame> frame = take_frame(kPredict, n);
  bind(kPredict, frame.get(), inputs, nullptr);
  const Function& f = program_->functions[kPredict];
  // Results that kernels make as a whole are made where they are wanted.
  for (size_t i = 0; device_ == nullptr && i < f.outputs.size(); ++i) {
    Tensor& t = frame->values[static_cast<size_t>(f.outputs[i])];
    if (!is_made_in_place(*frame, f.outputs[i])) continue;
    bool apart = true;
    for (size_t j = 0; apart && j < program_->inputs.size(); ++j) {
      const Tensor& given = frame->values[j];
      apart = are_apart(outputs[i], t.bytes(), given.data, given.bytes());
    }
    // The frame was used before: what it holds may be another call's memory.
    const int64_t place = frame->plan.offsets[static_cast<size_t>(f.outputs[i])];
    t.data = apart ? outputs[i] : frame->arena.data() + place;
  }
  bind_views(frame.get());
  const Status status = run_segment(kPredict, frame.get(), 0, Batch{n, 0, n}, 0, 0, error);
  if (status != Status::ok) return status;
  for (size_t i = 0; i < f.outputs.size(); ++i) {
    const Tensor& t = frame->values[static_cast<size_t>(f.outputs[i])];
    if (t.data != outputs[i]) download(outputs[i], t.data, static_cast<uint64_t>(t.bytes()));
  }
  give_frame(kPredict, std::move(frame));
  return Status::ok;
}

Status Session::loss(const void* const* inputs, const void* const* labels, int64_t n, int64_t* sums,
                     Error* error) {
  std::unique_ptr<Frame> frame = take_frame(kLoss, n);
  bind(kLoss, frame.get(), inputs, labels);
  const Status status = run_segment(kLoss, frame.get(), 0, Batch{n, 0, n}, 0, 0, error);
  if (status != Status::ok) return status;
  const Function& f = program_->functions[kLoss];
  for (size_t i = 0; i < f.outputs.size(); ++i) {
    int64_t sum = 0;
    download(&sum, frame->values[static_cast<size_t>(f.outputs[i])].data, sizeof sum);
    sums[i] += sum;
  }
  give_frame(kLoss, std::move(frame));
  return Status::ok;
}

Status Session::run_shard(Shard* shard, const int64_t* totals, int64_t* sums, Error* error) {
  const Function& f = program_->functions[kGrad];
  const size_t segment = shard->next_segment;
  if (!check_totals(totals, static_cast<uint32_t>(segment), error)) return error->status;
  if (segment == 0) {
    grad_keeps_ = grad_version_ == version_;
    grad_version_ = version_;
  }
  // A segment that stops half-way leaves values that no other can go on from.
  shard->failed = true;
  Frame* frame = shard->frame.get();
  size_t t = 0;
  for (size_t s = 0; s < segment; ++s) {
    for (int v : f.segments[s].totals) {
      bind_given(frame, static_cast<size_t>(v), totals + program_->totals[t++].offset);
    }
  }
  bind_parameters(kGrad, frame);
  bind_views(frame);
  const Status status =
      run_segment(kGrad, frame, segment, shard->batch, shard->seed, shard->step, error);
  if (status != Status::ok) return status;
  const std::vector<int>& reduce = f.segments[segment].reduce;
  std::vector<Buffer> fetched;
  std::vector<const int64_t*> parts;
  for (int v : reduce) {
    const Tensor& part = frame->values[static_cast<size_t>(v)];
    parts.push_back(part.as<int64_t>());
    if (device_ == nullptr) continue;
    fetched.emplace_back(static_cast<uint64_t>(part.bytes()));
    device_->download(fetched.back().data(), part.data, fetched.back().size());
    parts.back() = reinterpret_cast<const int64_t*>(fetched.back().data());
  }
  for (size_t i = 0; i < reduce.size(); ++i) {
    const int64_t n = frame->values[static_cast<size_t>(reduce[i])].elements;
    const TotalInfo& total = program_->totals[t + i];
    int64_t* sum = sums + total.offset;
    const int64_t bad = add_within(sum, parts[i], n, total.type.bound);
    if (bad == n) continue;
    error->fail(Status::bad_input, "sums: %lld plus %lld leaves the bound of total %zu",
                static_cast<long long>(sum[bad]), static_cast<long long>(parts[i][bad]), t + i);
    // Sums stay as they were.
    for (size_t j = 0; j < i; ++j) {
      const int64_t m = frame->values[static_cast<size_t>(reduce[j])].elements;
      subtract(sums + program_->totals[t + j].offset, parts[j], m);
    }
    return error->status;
  }
  shard->failed = false;
  ++shard->next_segment;
  return Status::ok;
}

Status Session::apply(const int64_t* totals, uint64_t seed, uint64_t step, Error* error) {
  const uint32_t segments = static_cast<uint32_t>(program_->functions[kGrad].segments.size());
  if (!check_totals(totals, segments, error)) return error->status;
  std::vector<const int64_t*> given;
  Buffer moved(device_ == nullptr ? 0 : program_->total_elements * sizeof(int64_t), device_.get());
  if (device_ != nullptr) {
    device_->upload(moved.data(), totals, moved.size());
    totals = reinterpret_cast<const int64_t*>(moved.data());
  }
  for (const TotalInfo& t : program_->totals) given.push_back(totals + t.offset);
  std::unique_ptr<Frame> frame = take_frame(kApply, 1);
  begin_apply(frame.get(), given);
  const Status status = run_apply(frame.get(), {}, seed, step, error);
  if (status == Status::ok) end_apply(std::move(frame));
  return status;
}

}  // namespace gvm
