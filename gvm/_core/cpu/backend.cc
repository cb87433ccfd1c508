// The CPU backend's table of kernels, one for every row of ops.inc: a missing kernel is a link
// error.
#include <cstdlib>

#include "session.h"

namespace gvm {

#define GVM_ATTR(name, is_list, minimum, maximum, shortest, longest)
#define GVM_NO_ATTR
#define GVM_OP(code, name, ...) extern const Kernel kernel_##name;
#include "ops.inc"
#undef GVM_OP

namespace {

// In the order of ops.inc, which is that of all_ops().
const Kernel* const kKernels[] = {
#define GVM_OP(code, name, ...) &kernel_##name,
#include "ops.inc"
#undef GVM_OP
};

}  // namespace

#undef GVM_ATTR
#undef GVM_NO_ATTR

const Kernel& cpu_kernel(const OpInfo& op) {
  int count = 0;
  return *kKernels[&op - all_ops(&count)];
}

PlanTraits cpu_plan_traits() {
  PlanTraits traits;
  traits.epilogue = [](const OpInfo& op) { return cpu_kernel(op).epilogue; };
  traits.in_place = [](const OpInfo& op) { return cpu_kernel(op).in_place; };
  traits.view = [](const OpInfo& op) { return cpu_kernel(op).view; };
  traits.converts = [](const OpInfo& op) { return cpu_kernel(op).converts; };
  return traits;
}

bool resolve_cpu_level(int requested, CpuLevel* level, Error* error) {
  const CpuLevel best = detect_cpu();
  if (requested >= 0) {
    if (requested > static_cast<int>(best)) {
      return error->fail(Status::no_backend,
                         "cpu level must be in [0, %d] on this machine, received %d",
                         static_cast<int>(best), requested);
    }
    *level = static_cast<CpuLevel>(requested);
    return true;
  }
  *level = best;
  const char* cap = std::getenv("GVM_CPU");
  if (cap == nullptr || cap[0] == '\0') return true;
  CpuLevel wanted = CpuLevel::scalar;
  if (!parse_cpu_level(cap, &wanted)) {
    return error->fail(Status::bad_call,
                       "GVM_CPU must be scalar, avx2, avx512 or neon, received %s", cap);
  }
  if (wanted < best) *level = wanted;
  return true;
}

}  // namespace gvm
