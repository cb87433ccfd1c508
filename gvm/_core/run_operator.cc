// One judged node by itself.
#include "session.h"

namespace gvm {

namespace {

// run_operator on a device: what it reads goes there, what it makes comes back.
Status run_on_device(const OpInfo& op, const Attributes& attributes, const std::vector<Tensor>& in,
                     std::vector<Tensor>* out, const Batch& batch, uint64_t seed, uint64_t step,
                     uint32_t site, int index, int64_t* clamps, Error* error) {
  const std::unique_ptr<Device> device = open_device(index, error);
  if (device == nullptr) return error->status;
  std::vector<Buffer> held;
  const auto there = [&](const Tensor& t, bool filled) {
    const uint64_t bytes = static_cast<uint64_t>(t.bytes());
    held.emplace_back(bytes, device.get());
    if (filled) device->upload(held.back().data(), t.data, bytes);
    Tensor moved = t;
    moved.data = held.back().data();
    return moved;
  };
  std::vector<Tensor> inputs, outputs;
  for (const Tensor& t : in) inputs.push_back(there(t, true));
  for (const Tensor& t : *out) outputs.push_back(there(t, false));
  int64_t count = 0;
  Call call;
  call.op = &op;
  call.attributes = &attributes;
  call.in = inputs.data();
  call.inputs = static_cast<int>(inputs.size());
  call.out = outputs.data();
  call.batch = batch;
  call.seed = seed;
  call.step = step;
  call.site = site;
  call.clamps = &count;
  call.error = error;
  device->prepare(&call);
  const Status status = device->kernel(op).run(call);
  if (status != Status::ok && error->ok()) error->fail(status, "%s: failed", op.name);
  if (!device->finish(error) || status != Status::ok) return error->status;
  for (size_t i = 0; i < outputs.size(); ++i) {
    device->download((*out)[i].data, outputs[i].data, static_cast<uint64_t>(outputs[i].bytes()));
  }
  if (clamps != nullptr) *clamps += count;
  return Status::ok;
}

}  // namespace

Status run_operator(const OpInfo& op, const Attributes& attributes, const std::vector<Tensor>& in,
                    std::vector<Tensor>* out, const Batch& batch, uint64_t seed, uint64_t step,
                    uint32_t site, const Target& target, int64_t* clamps, Error* error) {
  if (target.device >= 0) {
    return run_on_device(op, attributes, in, out, batch, seed, step, site, target.device, clamps,
                         error);
  }
  const Kernel& kernel = cpu_kernel(op);
  Threads pool(target.threads);
  SlotScratch scratch;
  int64_t count = 0;
  Call call;
  call.op = &op;
  call.attributes = &attributes;
  call.in = in.data();
  call.inputs = static_cast<int>(in.size());
  call.out = out->data();
  call.batch = batch;
  call.seed = seed;
  call.step = step;
  call.site = site;
  call.threads = &pool;
  call.cpu = &cpu_kernels(target.level);
  call.scratch = &scratch;
  call.clamps = &count;
  call.error = error;
  const Status status = kernel.run(call);
  if (status != Status::ok && error->ok()) error->fail(status, "%s: failed", op.name);
  if (clamps != nullptr) *clamps += count;
  return status;
}

}  // namespace gvm
