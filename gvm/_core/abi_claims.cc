// gvm.h: steps whose products are claimed.
#include "abi.h"

using gvm::Error;
using gvm::guarded;
using gvm::require;
using gvm::Status;

extern "C" {

int gvm_session_check_step(gvm_session* session, const gvm_batch* batch, const void* const* inputs,
                           const void* const* labels, const gvm_claim* claims, size_t count,
                           const uint8_t key[32], gvm_finding* finding, gvm_error* error) {
  gvm::Claims given;
  const int status = guarded(error, [&](Error* e) {
    if (!require(session != nullptr && batch != nullptr && inputs != nullptr && labels != nullptr &&
                     key != nullptr && finding != nullptr && (claims != nullptr || count == 0),
                 "session, batch, inputs, labels, claims, key and finding must be given", e) ||
        !gvm::check_step(*session->session, *batch, inputs, labels, e) ||
        !require(!session->session->has_device(), "a device checks no claims", e)) {
      return;
    }
    const int64_t n = static_cast<int64_t>(batch->local);
    std::copy(key, key + gvm::kKeyBytes, given.key);
    for (size_t i = 0; i < count; ++i) {
      const gvm_claim& c = claims[i];
      const bool known = c.type == GVM_I32 || c.type == GVM_I64;
      if (!require(c.sums != nullptr, "claim: sums must be given", e) ||
          !require(known, "claim: sums must be GVM_I32 or GVM_I64", e) ||
          !session->session->accept_claim(c.node, n, c.elements, e) ||
          !require(given.of_node.insert({c.node, {c.sums, c.type == GVM_I64}}).second,
                   "claim: a node has one at most", e)) {
        return;
      }
    }
    session->session->step(inputs, labels, n, batch->seed, batch->step, 0, e, &given);
    if (given.finding.wrong) *e = Error();
  });
  if (status != GVM_OK) return status;
  const gvm::Finding& found = given.finding;
  *finding = {given.checked, found.wrong ? static_cast<int32_t>(given.node) : -1, found.element,
              found.claimed, found.computed};
  return GVM_OK;
}

}  // extern "C"
