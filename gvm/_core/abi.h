// What the files of the C ABI share: handles, statuses and the checks of what callers hand over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <system_error>
#include <vector>

#include "cpu/dispatch.h"
#include "gvm/gvm.h"
#include "program.h"
#include "session.h"

struct gvm_program {
  std::shared_ptr<const gvm::Program> program;
};

struct gvm_session {
  std::unique_ptr<gvm::Session> session;
};

struct gvm_shard {
  gvm::Shard shard;
};

namespace gvm {

constexpr uint64_t kMaxStep = uint64_t{1} << 56;

int report(const Error& error, gvm_error* out);

// Runs f(Error*), turning what it throws into a status. f returns nothing: the error says it all.
template <typename F>
int guarded(gvm_error* out, F f) {
  Error error;
#if GVM_EXCEPTIONS
  try {
    f(&error);
  } catch (const std::bad_alloc&) {
    error = Error();
    error.status = Status::out_of_memory;
    // The message fits the string's own storage: no allocation in a machine that has none left.
    error.message.assign("out of memory", 13);
  } catch (const DeviceFailure& failure) {
    error = Error();
    error.fail(failure.status, "%s", failure.text);
  } catch (const std::system_error&) {
    error = Error();
    error.fail(Status::internal, "no more threads can be started");
  } catch (...) {
    error = Error();
    error.fail(Status::internal, "internal error");
  }
#else
  f(&error);  // built without exceptions: a host without memory ends here
#endif
  return report(error, out);
}

bool require(bool condition, const char* rule, Error* error);

gvm_type from_type(const Type& t);

// A type given by a caller: element type, format, rank, dimensions and batch axis in range. Only an
// i64 may state a bound of its own: for others it is a fact of the type.
bool read_type(const gvm_type& t, Type* type, Error* error);

bool read_options(const gvm_options* given, Target* target, Error* error);

// A shard of at most `most` examples, within its batch.
bool check_batch(const gvm_batch& b, uint64_t most, Error* error);

// Pointers to tensors, none of which may be null.
template <typename Pointer>
bool check_pointers(const char* what, const Pointer* pointers, size_t count, Error* error) {
  for (size_t i = 0; i < count; ++i) {
    if (pointers[i] == nullptr) {
      return error->fail(Status::bad_call, "%s %zu: a tensor must be given", what, i);
    }
  }
  return true;
}

// The inputs, or labels, of `batch` examples: all there, bools 0 or 1.
bool check_given(const std::vector<Type>& types, const char* what, const void* const* data,
                 int64_t batch, Error* error);

// What a whole step is given: a program with grad and apply, the whole batch, inputs and labels.
bool check_step(const Session& session, const gvm_batch& batch, const void* const* inputs,
                const void* const* labels, Error* error);

}  // namespace gvm
