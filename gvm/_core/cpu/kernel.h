// What a CPU kernel sees. Kernels include this, fixed.h, random.h, cpu/gemm.h and nothing of the
// VM.
#pragma once

#include <cstdint>

#include "cpu/kernels.h"
#include "fixed.h"
#include "op.h"
#include "status.h"
#include "tables.h"
#include "threads.h"
#include "types.h"

namespace gvm {

// A dense row-major tensor of this shard. Data is 64-byte aligned and not owned.
struct Tensor {
  void* data = nullptr;
  Type type;                    // as proved by the loader; the batch is symbolic there
  int64_t dims[kMaxRank] = {};  // concrete: the local batch in place of kBatch
  int64_t elements = 0;

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
  int64_t bytes() const { return elements * dtype_bytes(type.dtype); }
};

// The examples at hand: `local` of them, from global index `offset` on, of `global` in the step.
struct Batch {
  int64_t local = 0, offset = 0, global = 0;
  // Not below 0: the tensors are cut out of larger ones, and what is drawn for element e of a
  // result is that of element origin + e.
  int64_t origin = -1;
};

// Reusable temporary memory of a session; contents are undefined. Grows, never shrinks.
class Scratch {
 public:
  virtual ~Scratch() = default;
  // 64-byte aligned, valid until the next call of get() with the same slot (0..3).
  virtual void* get(int slot, int64_t bytes) = 0;
};

// Memory of one node that keeps its contents from call to call while the parameters stay: for
// packed weights.
class Kept {
 public:
  virtual ~Kept() = default;
  // Piece `index` >= 0 of the node, of `bytes`, 64-byte aligned. *fresh: its contents are undefined
  // and must now be made, to last until the parameters change.
  virtual void* get(int64_t index, int64_t bytes, bool* fresh) = 0;
};

// Tiles of matrix products by the way they took (cpu/gemm.h); they say what a time is made of.
struct RouteCounts {
  int64_t narrow = 0;    // one 32-bit sum over all terms
  int64_t wide = 0;      // 64-bit sums of 32-bit ones
  int64_t split = 0;     // by bytes, at least in part
  int64_t few_rows = 0;  // row by row, with nothing packed
};

// Takes the exact sums of a kernel in place of out[0].
class Sink {
 public:
  virtual ~Sink() = default;
  // Sums of elements [element, element + n). Several threads call it, once for each element.
  virtual void take(const int64_t* sums, int64_t n, int64_t element) = 0;
};

// Nodes that the planner has fused behind a kernel, in this order: bias, convert, relu.
struct Fused {
  const Tensor* bias = nullptr;  // shared, length = last dimension of the output
  bool convert = false;          // to the type of Call::out[0]
  Rounding rounding = Rounding::nearest;
  uint32_t site = 0;
  int fraction_bits_in = 0;  // of the exact accumulator, bias aligned to it
  bool relu = false;         // max(q, 0) after the convert
};

class CudaQueue;
struct Pair;
struct Weights;

struct Call {
  const OpInfo* op = nullptr;
  const Attributes* attributes = nullptr;
  const Tensor* in = nullptr;
  int inputs = 0;
  Tensor* out = nullptr;
  Batch batch;
  uint64_t seed = 0, step = 0;
  uint32_t site = 0;  // the first site this node reserves
  Threads* threads = nullptr;
  const CpuKernels* cpu = nullptr;
  Scratch* scratch = nullptr;
  TableCache* tables = nullptr;   // null: a node by itself, no tables are kept
  int64_t* clamps = nullptr;      // add the number of saturated elements here
  const Fused* fused = nullptr;   // only for kernels with `epilogue`
  Sink* sink = nullptr;           // only for kernels with `sinks`: where the exact sums go
  int64_t first = 0;              // only for kernels with `ranged`: see there
  RouteCounts* routes = nullptr;  // added to, where somebody asks
  Kept* kept = nullptr;           // given where in[1] is the same until the parameters change
  Error* error = nullptr;
  CudaQueue* cuda = nullptr;  // given to the kernels of that device, instead of what is the CPU's

  int64_t attr(int i) const { return attributes->get(i); }
  const std::vector<int64_t>& list(int i) const { return attributes->list(i); }
};

// Where element e of a local row-major tensor stands in the logical tensor of the whole batch
// (numerics section 3): base + (e / run) * stride + e % run.
struct IndexMap {
  int64_t run, stride, base;
  constexpr int64_t operator()(int64_t e) const { return base + (e / run) * stride + e % run; }
};
IndexMap index_map(const Type& type, const Batch& batch);

// Runs the convert kernel of the CPU level over a whole tensor of exact integers (i16, i32 or i64
// at fraction_bits_in) into out (i16 or i32), in parallel. Stochastic draws use call.seed, step,
// site.
void convert_tensor(const Call& call, const void* source, DType source_type, int fraction_bits_in,
                    const Tensor& out, Rounding rounding, uint32_t site);

// So many elements a kernel with `ranged` takes in the calling thread, without parallel_for.
constexpr int64_t kRangedElements = 4096;

// One kernel: kernel_<name> in cpu/<name>.cc, declared for every row of ops.inc.
struct Kernel {
  // Returns ok, or a positive status after call.error->fail(...) for a run-time value outside its
  // domain.
  Status (*run)(const Call& call);
  bool epilogue = false;  // honours Call::fused
  bool in_place = false;  // out[0] may share memory with in[0] when types and sizes agree
  bool view = false;      // out[0] is in[0] under another shape: run copies it where it is not
  bool converts = false;  // honours Call::fused where it has no bias
  bool sinks = false;     // honours Call::sink
  // Element by element, without a batch: may be run on kRangedElements, from Call::first on.
  bool ranged = false;
  // Of products: how their result is checked instead of made (cpu/form.h).
  bool (*form)(const Call& call, const Weights& weights, Pair* value) = nullptr;
};

}  // namespace gvm
