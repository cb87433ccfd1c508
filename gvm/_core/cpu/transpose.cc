#include "cpu/copy.h"

namespace gvm {

namespace {

enum { kPermutation };

constexpr int64_t kTile = 32;  // rows and columns that are turned in the cache at a time

// The innermost dimensions of source and destination differ: turns them in square tiles.
template <typename T>
void turn(const Call& call, const Nest<2>& nest, const T* x, T* out) {
  const int last = nest.rank - 1;
  int first = 0;  // the dimension along which the source is contiguous
  while (nest.strides[0][first] != 1) ++first;
  Nest<2> outer;
  for (int i = 0; i < last; ++i) {
    if (i != first) outer.push(nest.dims[i], {nest.strides[0][i], nest.strides[1][i]});
  }
  const int64_t rows = nest.dims[first], columns = nest.dims[last];
  const int64_t from = nest.strides[0][last], to = nest.strides[1][first];
  const int64_t tiles_down = (rows + kTile - 1) / kTile;
  const int64_t tiles_across = (columns + kTile - 1) / kTile;
  const int64_t tiles = tiles_down * tiles_across;
  for_ranges(
      call, outer.elements() * tiles, kGrain / (kTile * kTile), [&](int64_t begin, int64_t end) {
        for (int64_t tile = begin; tile < end; ++tile) {
          const int64_t row = tile % tiles / tiles_across * kTile;
          const int64_t column = tile % tiles_across * kTile;
          const int64_t bottom = std::min(rows, row + kTile);
          const int64_t right = std::min(columns, column + kTile);
          for_rows(outer, tile / tiles, tile / tiles + 1, [&](int64_t, const int64_t* at, int64_t) {
            for (int64_t i = row; i < bottom; ++i) {
              copy_row(x + at[0] + i + column * from, from, out + at[1] + i * to + column, 1,
                       right - column);
            }
          });
        }
      });
}

Status run(const Call& call) {
  const Tensor &x = call.in[0], &out = call.out[0];
  const auto from = dense_strides(x.dims, x.type.rank);
  const auto to = dense_strides(out.dims, out.type.rank);
  Nest<2> nest;
  for (int i = 0; i < out.type.rank; ++i) {
    const size_t axis = static_cast<size_t>(call.list(kPermutation)[static_cast<size_t>(i)]);
    nest.push(out.dims[i], {from[axis], to[static_cast<size_t>(i)]});
  }
  with_size(x.type.dtype, [&](auto zero) {
    using T = decltype(zero);
    if (nest.rank == 0 || nest.inner_stride(0) == 1) {
      copy_nest(call, nest, x.as<T>(), out.as<T>());
    } else {
      turn(call, nest, x.as<T>(), out.as<T>());
    }
  });
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_transpose = {run};

}  // namespace gvm
