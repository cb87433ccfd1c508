// Matrices as lines that the GEMM engine packs.
#include <algorithm>

#include "cpu/gemm.h"

namespace gvm {

namespace {

constexpr int kMaxWidth = 32;        // lines in a panel
constexpr int64_t kPackTerms = 128;  // packed of all panels before the next: they share pages

void pack_strided(const void* context, const GemmKernels& kernels, int64_t line, int64_t lines,
                  int64_t term, int64_t terms, int width, int16_t* panels, int64_t panel_stride) {
  const StridedLines& from = *static_cast<const StridedLines*>(context);
  const int64_t step = from.term_stride == 1 ? terms : kPackTerms;
  for (int64_t k = 0; k < terms; k += step) {
    const int64_t count = std::min(step, terms - k);
    for (int64_t i = 0; i < lines; i += width) {
      const int16_t* data =
          from.data + (line + i) * from.line_stride + (term + k) * from.term_stride;
      int16_t* const to = panels + i / width * panel_stride + k * width;
      const int held = static_cast<int>(std::min<int64_t>(width, lines - i));
      if (from.term_stride == 1) {
        const int16_t* starts[kMaxWidth];
        for (int j = 0; j < held; ++j) starts[j] = data + j * from.line_stride;
        kernels.pack_lines(starts, held, count, width, to);
      } else {
        kernels.pack_terms(data, from.term_stride, held, count, width, to);
      }
    }
  }
}

}  // namespace

LineSource strided_lines(const StridedLines& lines) { return {pack_strided, &lines}; }

const StridedLines* as_strided(const LineSource& source) {
  if (source.pack != pack_strided) return nullptr;
  return static_cast<const StridedLines*>(source.context);
}

}  // namespace gvm
