// Status codes (published; the same numbers as in gvm.h) and the one function that formats
// messages.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <string>

namespace gvm {

// Positive: the program or its data is at fault, and every node agrees. Negative: this host failed.
enum class Status : int {
  ok = 0,
  bad_encoding = 1,  // not the canonical bytes of anything
  unknown_semantics = 2,
  unknown_operator = 3,
  bad_attribute = 4,
  bad_type = 5,  // element type or format
  bad_shape = 6,
  bad_batch = 7,        // examples would mix outside a reduce
  unproved_bound = 8,   // an accumulator could pass 2^62
  bad_graph = 9,        // value indices, functions, outputs
  over_limit = 10,      // a limit that the node has set
  bad_parameters = 11,  // size or padding of a parameter or state buffer
  bad_input = 12,       // a run-time value outside its domain (a label, a batch)
  bad_file = 13,        // a .dmodel container
  out_of_memory = -1,
  bad_call = -2,  // the caller broke the contract of gvm.h
  no_backend = -3,
  internal = -4,
};

struct Error {
  Status status = Status::ok;
  std::string message;

  bool ok() const { return status == Status::ok; }

  // Records the first error and returns false; later ones are ignored.
  bool fail(Status s, const char* format, ...) __attribute__((format(printf, 3, 4))) {
    va_list args;
    va_start(args, format);
    vfail(s, format, args);
    va_end(args);
    return false;
  }
  bool vfail(Status s, const char* format, va_list args) {
    if (status != Status::ok) return false;
    char text[512];
    std::vsnprintf(text, sizeof text, format, args);
    status = s;
    message = text;
    return false;
  }
};

}  // namespace gvm
