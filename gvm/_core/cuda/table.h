// Numbers that choose a row, or a class: checked where they lie.
#pragma once

#include "cuda/kernel.h"

namespace gvm {

// Reports the first of n numbers outside [0, limit).
inline void watch_numbers(const Call& call, Rule rule, const int32_t* numbers, int64_t n,
                          int64_t limit) {
  Fault* const fault = call.cuda->fault(call, rule, limit);
  call.cuda->each(
      n, GVM_EACH(int64_t i) {
        if (numbers[i] < 0 || numbers[i] >= limit) report_element(fault, i, numbers[i]);
      });
}

// A number within [0, limit), whatever was given: what a faulty call reads does not matter.
GVM_DEVICE_CODE int64_t number_within(int32_t number, int64_t limit) {
  return number >= 0 && number < limit ? number : 0;
}

}  // namespace gvm
