#include "cpu/convolution.h"

#include <algorithm>
#include <cstring>

#include "cpu/panels.h"

namespace gvm {

namespace {

constexpr int kMaxWidth = 32;           // lines in a panel
constexpr int64_t kSlack = 16;          // numbers that a copy may write beyond its end
constexpr int64_t kTermsHeld = 256;     // even; of each line, where lines are copied first
constexpr int64_t kPositionsHeld = 64;  // even
constexpr int64_t kLinesHeld = 128;
constexpr int64_t kRowTerms = 64;      // even; held of as many positions
constexpr int64_t kWholeSegment = 32;  // multiples of so many consecutive terms, or at least
constexpr int64_t kLongSegment = 128;  // so many, are packed where they lie

// A position, stepped in order without divisions.
struct Position {
  int64_t image, row, column;

  static Position at(const Gather& g, int64_t i) {
    const int64_t line = i / g.w.out;
    return {line / g.h.out, line % g.h.out, i % g.w.out};
  }
  void step(const Gather& g) {
    if (++column < g.w.out) return;
    column = 0;
    if (++row < g.h.out) return;
    row = 0;
    ++image;
  }
};

// Copies n numbers in blocks of kSlack where that stays within the source.
void copy(const int16_t* from, const int16_t* end, int64_t n, int16_t* to) {
  if (end - from < n + kSlack) {
    if (n > 0) std::memcpy(to, from, static_cast<size_t>(n) * sizeof *to);
    return;
  }
  for (int64_t i = 0; i < n; i += kSlack) std::memcpy(to + i, from + i, kSlack * sizeof *to);
}

void clear(int64_t n, int16_t* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = 0;
}

// Reads what positions read. Terms come in segments that are consecutive in memory but for padding:
// a whole row of the window, or the channels of one of its elements.
class Reader {
 public:
  explicit Reader(const Gather& gather)
      : g_(gather),
        end_(g_.data + g_.images * g_.h.in * g_.w.in * g_.image_channels),
        whole_rows_(g_.w.dilation == 1 && g_.channels == g_.image_channels),
        segment_(whole_rows_ ? g_.w.window * g_.channels : g_.channels) {}

  // Writes terms [first, last) of a position, and up to kSlack numbers beyond.
  void read(const Position& at, int64_t first, int64_t last, int16_t* to) const {
    int64_t q = 0, skip = first;
    if (first >= segment_) {
      q = first / segment_;
      skip = first % segment_;
    }
    int64_t r = whole_rows_ ? q : q / g_.w.window;
    int64_t s = whole_rows_ ? 0 : q % g_.w.window;
    for (int64_t left = last - first; left > 0;) {
      const int64_t n = std::min(left, segment_ - skip);
      read_segment(at, r, s, skip, n, to);
      to += n;
      left -= n;
      skip = 0;
      if (whole_rows_ || ++s == g_.w.window) {
        s = 0;
        ++r;
      }
    }
  }

  // The channels of element (r, s) of the window; null in the padding.
  const int16_t* channels(const Position& at, int64_t r, int64_t s) const {
    const int64_t column = at.column * g_.w.stride - g_.w.before + s * g_.w.dilation;
    const int16_t* line = row(at, r);
    if (line == nullptr || column < 0 || column >= g_.w.in) return nullptr;
    return line + column * g_.image_channels + g_.first_channel;
  }

 private:
  const int16_t* row(const Position& at, int64_t r) const {
    const int64_t row = at.row * g_.h.stride - g_.h.before + r * g_.h.dilation;
    if (row < 0 || row >= g_.h.in) return nullptr;
    return g_.data + (at.image * g_.h.in + row) * g_.w.in * g_.image_channels;
  }

  void read_segment(const Position& at, int64_t r, int64_t s, int64_t skip, int64_t n,
                    int16_t* to) const {
    if (!whole_rows_) {
      const int16_t* from = channels(at, r, s);
      if (from == nullptr) {
        clear(n, to);
      } else {
        copy(from + skip, end_, n, to);
      }
      return;
    }
    const int16_t* line = row(at, r);
    if (line == nullptr) {
      clear(n, to);
      return;
    }
    // Of the segment, terms [low, high) lie within the image.
    const int64_t column = at.column * g_.w.stride - g_.w.before;
    const int64_t low = std::max<int64_t>(0, -column) * g_.channels;
    const int64_t high = std::min(g_.w.window, g_.w.in - column) * g_.channels;
    const int64_t first = std::min(std::max(low, skip), skip + n);
    const int64_t last = std::max(first, std::min(high, skip + n));
    clear(first - skip, to);
    if (last > first)
      copy(line + (column * g_.channels + first), end_, last - first, to + (first - skip));
    clear(skip + n - last, to + last - skip);
  }

  const Gather& g_;
  const int16_t* const end_;
  const bool whole_rows_;
  const int64_t segment_;
};

// Whether a term is read by consecutive positions of a row at consecutive places.
bool reads_rows(const Gather& g) {
  return g.channels == 1 && g.image_channels == 1 && g.w.stride == 1;
}

// For such a gather: to[t * stride + i] = term first + t of position begin + i, for t < terms and
// i < n.
void read_rows(const Gather& g, int64_t begin, int64_t n, int64_t first, int64_t terms, int16_t* to,
               int64_t stride) {
  Position at = Position::at(g, begin);
  for (int64_t done = 0; done < n;) {
    const int64_t count = std::min(n - done, g.w.out - at.column);
    int64_t r = first / g.w.window, s = first % g.w.window;
    for (int64_t t = 0; t < terms; ++t) {
      int16_t* const line = to + t * stride + done;
      const int64_t row = at.row * g.h.stride - g.h.before + r * g.h.dilation;
      const int64_t column = at.column - g.w.before + s * g.w.dilation;
      // Places [low, high) of the line lie within the image.
      const int64_t low = std::min(std::max<int64_t>(-column, 0), count);
      const bool outside = row < 0 || row >= g.h.in;
      const int64_t high = outside ? low : std::max(low, std::min(count, g.w.in - column));
      clear(low, line);
      if (high > low) {
        const int16_t* const from = g.data + (at.image * g.h.in + row) * g.w.in + column;
        std::memcpy(line + low, from + low, static_cast<size_t>(high - low) * sizeof *line);
      }
      clear(count - high, line + high);
      if (++s == g.w.window) {
        s = 0;
        ++r;
      }
    }
    done += count;
    at.column += count - 1;
    at.step(g);
  }
}

// Packs terms [term, term + terms) of up to `width` lines whose terms come in segments of even
// length `length`: start(line, q) is segment q, null if zero.
template <typename Start>
void pack_segments(const GemmKernels& kernels, int held, int64_t length, int64_t term,
                   int64_t terms, int width, int16_t* panel, Start&& start) {
  const int16_t* lines[kMaxWidth];
  int64_t q = term / length, skip = term % length;
  for (int64_t done = 0; done < terms;) {
    const int64_t n = std::min(terms - done, length - skip);
    for (int j = 0; j < held; ++j) {
      lines[j] = start(j, q);
      if (lines[j] != nullptr) lines[j] += skip;
    }
    kernels.pack_lines(lines, held, n, width, panel + done * width);
    done += n;
    skip = 0;
    ++q;
  }
}

// Lines are positions.
void pack_position_rows(const Gather& g, const GemmKernels& kernels, Span lines, Span terms,
                        int width, int16_t* panels, int64_t panel_stride) {
  int16_t copied[kRowTerms][kPositionsHeld];
  const int64_t block = kPositionsHeld / width * width;
  for (int64_t i = 0; i < lines.count; i += block) {
    const int64_t count = std::min(block, lines.count - i);
    for (int64_t done = 0; done < terms.count; done += kRowTerms) {
      const int64_t n = std::min(kRowTerms, terms.count - done);
      read_rows(g, lines.first + i, count, terms.first + done, n, copied[0], kPositionsHeld);
      for (int64_t j = 0; j < count; j += width) {
        const int held = static_cast<int>(std::min<int64_t>(width, count - j));
        kernels.pack_terms(copied[0] + j, kPositionsHeld, held, n, width,
                           panels + (i + j) / width * panel_stride + done * width);
      }
    }
  }
}

// Terms are positions.
void pack_term_rows(const Gather& g, const GemmKernels& kernels, Span lines, Span terms, int width,
                    int16_t* panels, int64_t panel_stride) {
  int16_t copied[kMaxWidth][kTermsHeld];
  const int16_t* starts[kMaxWidth];
  for (int j = 0; j < kMaxWidth; ++j) starts[j] = copied[j];
  for (int64_t i = 0; i < lines.count; i += width) {
    const int held = static_cast<int>(std::min<int64_t>(width, lines.count - i));
    int16_t* const panel = panels + i / width * panel_stride;
    for (int64_t done = 0; done < terms.count; done += kTermsHeld) {
      const int64_t n = std::min(kTermsHeld, terms.count - done);
      read_rows(g, terms.first + done, n, lines.first + i, held, copied[0], kTermsHeld);
      kernels.pack_lines(starts, held, n, width, panel + done * width);
    }
  }
}

void pack_positions(const void* context, const GemmKernels& kernels, int64_t line, int64_t lines,
                    int64_t term, int64_t terms, int width, int16_t* panels, int64_t panel_stride) {
  const Gather& g = *static_cast<const Gather*>(context);
  if (reads_rows(g)) {
    pack_position_rows(g, kernels, {line, lines}, {term, terms}, width, panels, panel_stride);
    return;
  }
  const Reader reader(g);
  Position next = Position::at(g, line);
  for (int64_t i = 0; i < lines; i += width) {
    const int held = static_cast<int>(std::min<int64_t>(width, lines - i));
    Position at[kMaxWidth];
    for (int j = 0; j < held; ++j) {
      at[j] = next;
      next.step(g);
    }
    int16_t* const panel = panels + i / width * panel_stride;
    if (g.channels % kWholeSegment == 0 || (g.channels % 2 == 0 && g.channels >= kLongSegment)) {
      pack_segments(kernels, held, g.channels, term, terms, width, panel, [&](int j, int64_t q) {
        return reader.channels(at[j], q / g.w.window, q % g.w.window);
      });
      continue;
    }
    int16_t copied[kMaxWidth][kTermsHeld + kSlack];
    const int16_t* starts[kMaxWidth];
    for (int j = 0; j < held; ++j) starts[j] = copied[j];
    for (int64_t done = 0; done < terms; done += kTermsHeld) {
      const int64_t n = std::min(kTermsHeld, terms - done);
      for (int j = 0; j < held; ++j) {
        reader.read(at[j], term + done, term + done + n, copied[j]);
      }
      kernels.pack_lines(starts, held, n, width, panel + done * width);
    }
  }
}

void pack_terms(const void* context, const GemmKernels& kernels, int64_t line, int64_t lines,
                int64_t term, int64_t terms, int width, int16_t* panels, int64_t panel_stride) {
  const Gather& g = *static_cast<const Gather*>(context);
  if (reads_rows(g)) {
    pack_term_rows(g, kernels, {line, lines}, {term, terms}, width, panels, panel_stride);
    return;
  }
  const Reader reader(g);
  const int64_t block = kLinesHeld / width * width;
  int16_t copied[kPositionsHeld][kLinesHeld + kSlack];
  for (int64_t first = 0; first < lines; first += block) {
    const int64_t count = std::min(block, lines - first);
    Position next = Position::at(g, term);
    for (int64_t done = 0; done < terms; done += kPositionsHeld) {
      const int64_t n = std::min(kPositionsHeld, terms - done);
      for (int64_t p = 0; p < n; ++p) {
        reader.read(next, line + first, line + first + count, copied[p]);
        next.step(g);
      }
      for (int64_t i = 0; i < count; i += width) {
        const int held = static_cast<int>(std::min<int64_t>(width, count - i));
        kernels.pack_terms(copied[0] + i, kLinesHeld + kSlack, held, n, width,
                           panels + (first + i) / width * panel_stride + done * width);
      }
    }
  }
}

void pack_channels(const void* context, const GemmKernels& kernels, int64_t line, int64_t lines,
                   int64_t term, int64_t terms, int width, int16_t* panels, int64_t panel_stride) {
  const KernelChannels& k = *static_cast<const KernelChannels*>(context);
  const int64_t columns = static_cast<int64_t>(k.columns.size());
  for (int64_t i = 0; i < lines; i += width) {
    const int held = static_cast<int>(std::min<int64_t>(width, lines - i));
    const auto start = [&](int j, int64_t q) {
      const int64_t r = k.rows[static_cast<size_t>(q / columns)];
      const int64_t s = k.columns[static_cast<size_t>(q % columns)];
      return k.data + ((r * k.width + s) * k.channels + line + i + j) * k.filters + k.first_filter;
    };
    int16_t* const panel = panels + i / width * panel_stride;
    const int64_t length = k.group_filters;
    if (length % 2 == 0) {
      pack_segments(kernels, held, length, term, terms, width, panel, start);
      continue;
    }
    int16_t copied[kMaxWidth][kTermsHeld];
    const int16_t* starts[kMaxWidth];
    for (int j = 0; j < held; ++j) starts[j] = copied[j];
    for (int64_t done = 0; done < terms; done += kTermsHeld) {
      const int64_t n = std::min(kTermsHeld, terms - done);
      for (int j = 0; j < held; ++j) {
        int64_t q = (term + done) / length, skip = (term + done) % length;
        for (int64_t t = 0; t < n; ++q, skip = 0) {
          const int64_t part = std::min(n - t, length - skip);
          std::memcpy(copied[j] + t, start(j, q) + skip, static_cast<size_t>(part) * 2);
          t += part;
        }
      }
      kernels.pack_lines(starts, held, n, width, panel + done * width);
    }
  }
}

}  // namespace

GatherAxis gather_axis(const WindowAxis& axis) {
  return {axis.in, axis.window, axis.stride, axis.before, axis.dilation, axis.out()};
}

LineSource positions_as_lines(const Gather& gather) { return {pack_positions, &gather}; }

LineSource positions_as_terms(const Gather& gather) { return {pack_terms, &gather}; }

LineSource channels_as_lines(const KernelChannels& kernel) { return {pack_channels, &kernel}; }

bool is_thin(const Convolution& c) {
  return c.groups > 1 && std::min(c.group_channels(), c.group_filters()) < 8;
}

}  // namespace gvm
