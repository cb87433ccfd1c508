// gvm.h: the referee.
#include "abi.h"
#include "referee.h"

extern "C" int gvm_referee(const uint8_t* claim, size_t size, uint64_t memory, gvm_verdict* finding,
                           gvm_error* error) {
  return gvm::guarded(error, [&](gvm::Error* e) {
    constexpr uint64_t kDefault = uint64_t{1} << 30;
    if (!gvm::require((claim != nullptr || size == 0) && finding != nullptr,
                      "a claim and a finding must be given", e) ||
        !gvm::require(finding->struct_size == sizeof *finding,
                      "gvm_verdict.struct_size is not that of this library", e)) {
      return;
    }
    gvm::ElementVerdict found;
    if (!gvm::decide(claim, size, memory == 0 ? kDefault : memory, &found, e)) return;
    finding->refused = found.refused ? 1 : 0;
    finding->reserved = 0;
    finding->value = found.refused ? 0 : found.value;
  });
}
