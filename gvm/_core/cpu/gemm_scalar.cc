// The tile and packing loops in plain C++: the definition that the vector ones equal.
#include "cpu/kernels.h"

namespace gvm {

namespace {

constexpr int kRows = 4, kColumns = 8;

// Adds to sums over `pairs` pairs. Products as unsigned: wrapping is part of the contract.
void add_products(int64_t pairs, const int16_t* a, const int16_t* b, int width,
                  uint32_t (*sums)[kColumns]) {
  for (int64_t p = 0; p < pairs; ++p) {
    for (int i = 0; i < kRows; ++i) {
      const int32_t a0 = a[2 * i], a1 = a[2 * i + 1];
      for (int j = 0; j < width; ++j) {
        sums[i][j] +=
            static_cast<uint32_t>(a0 * b[2 * j]) + static_cast<uint32_t>(a1 * b[2 * j + 1]);
      }
    }
    a += 2 * kRows;
    b += 2 * width;
  }
}

void tile(int64_t pairs, const int16_t* a, const int16_t* b, int width, const int32_t* start,
          int64_t start_stride, int32_t* c, int64_t ldc, int rows, int columns, const int16_t*) {
  uint32_t sums[kRows][kColumns] = {};
  add_products(pairs, a, b, width, sums);
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; ++j) {
      const uint32_t old =
          start != nullptr ? static_cast<uint32_t>(start[i * start_stride + j]) : 0;
      c[i * ldc + j] = static_cast<int32_t>(old + sums[i][j]);
    }
  }
}

// See WideSums::jammed.
int32_t jam(int64_t sum, int odd) {
  const int64_t low = (int64_t{1} << odd) - 1;
  const int64_t q = ((sum - (sum & low)) / (low + 1)) | ((sum & low) != 0 ? 1 : 0);
  return static_cast<int32_t>(q > INT32_MAX ? INT32_MAX : q < INT32_MIN ? INT32_MIN : q);
}

void tile_wide(const int32_t* counts, int blocks, const int16_t* a, const int16_t* b, int width,
               const WideSums& to, int rows, int columns, const int16_t*) {
  int64_t whole[kRows][kColumns] = {};
  for (int block = 0; block < blocks; ++block) {
    uint32_t sums[kRows][kColumns] = {};
    add_products(counts[block], a, b, width, sums);
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kColumns; ++j) whole[i][j] += static_cast<int32_t>(sums[i][j]);
    }
    a += 2 * kRows * int64_t{counts[block]};
    b += 2 * width * int64_t{counts[block]};
  }
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; ++j) {
      const int64_t start = to.start != nullptr ? to.start[i * to.start_stride + j] : 0;
      const int64_t sum = start + whole[i][j];
      if (to.exact != nullptr) {
        to.exact[i * to.stride + j] = sum;
      } else {
        to.jammed[i * to.stride + j] = jam(sum, to.odd);
      }
    }
  }
}

void widen(const int32_t* tile, int64_t tile_stride, int64_t* c, int64_t ldc, int64_t rows,
           int64_t columns, int shift, bool accumulate) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      const int64_t value = int64_t{tile[i * tile_stride + j]} * (int64_t{1} << shift);
      c[i * ldc + j] = accumulate ? c[i * ldc + j] + value : value;
    }
  }
}

void norms(const int16_t* panel, int64_t pairs, int64_t block, int width, uint64_t* norms) {
  uint64_t all[kColumns] = {};
  const auto largest = [](const uint64_t* sums) {
    uint64_t most = 0;
    for (int i = 0; i < kColumns; ++i) most = sums[i] > most ? sums[i] : most;
    return most;
  };
  for (int64_t first = 0; first < pairs; first += block) {
    uint64_t sums[kColumns] = {};
    const int64_t end = pairs - first < block ? pairs : first + block;
    for (int64_t p = first; p < end; ++p) {
      for (int i = 0; i < width; ++i) {
        const int64_t x = panel[2 * i], y = panel[2 * i + 1];
        sums[i] += static_cast<uint64_t>(x * x + y * y);
      }
      panel += 2 * width;
    }
    for (int i = 0; i < width; ++i) all[i] += sums[i];
    *norms++ = largest(sums);
  }
  *norms = largest(all);
}

void split(const int16_t* panel, int64_t count, int16_t* high, int16_t* low) {
  for (int64_t i = 0; i < count; ++i) {
    const int h = (panel[i] + 128) >> 8;
    high[i] = static_cast<int16_t>(h);
    low[i] = static_cast<int16_t>(panel[i] - h * 256);
  }
}

void pack_lines(const int16_t* const* lines, int count, int64_t terms, int width, int16_t* panel) {
  const int64_t pairs = (terms + 1) / 2;
  for (int i = 0; i < width; ++i) {
    const int16_t* line = i < count ? lines[i] : nullptr;
    for (int64_t p = 0; p < pairs; ++p) {
      int16_t* to = panel + (p * width + i) * 2;
      to[0] = line != nullptr ? line[2 * p] : int16_t{0};
      to[1] = line != nullptr && 2 * p + 1 < terms ? line[2 * p + 1] : int16_t{0};
    }
  }
}

void pack_terms(const int16_t* source, int64_t stride, int count, int64_t terms, int width,
                int16_t* panel) {
  const int64_t pairs = (terms + 1) / 2;
  for (int64_t p = 0; p < pairs; ++p) {
    const int16_t* even = source + 2 * p * stride;
    const bool odd = 2 * p + 1 < terms;
    for (int i = 0; i < width; ++i) {
      panel[2 * i] = i < count ? even[i] : int16_t{0};
      panel[2 * i + 1] = i < count && odd ? even[stride + i] : int16_t{0};
    }
    panel += 2 * width;
  }
}

void row(const int16_t* a, int terms, const int16_t* b, int64_t stride, int64_t columns,
         int32_t* sums, bool accumulate) {
  for (int64_t j = 0; j < columns; ++j) {
    uint32_t sum = accumulate ? static_cast<uint32_t>(sums[j]) : 0;
    for (int k = 0; k < terms; ++k) sum += static_cast<uint32_t>(a[k] * b[k * stride + j]);
    sums[j] = static_cast<int32_t>(sum);
  }
}

}  // namespace

const GemmKernels kGemmScalar = {kRows, kColumns, kColumns / 2, tile,       tile_wide, widen,
                                 norms, split,    pack_lines,   pack_terms, row};

}  // namespace gvm
