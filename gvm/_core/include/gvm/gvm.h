/* gvm: deterministic fixed-point training and evaluation of neural networks. The C ABI.
 *
 * This header is the only door to the library. It is C99, has no dependency but the three standard
 * headers below, and can be included any number of times.
 *
 * Conventions
 * - Every function that can fail returns a status: 0 is success; a positive status says that the
 * program or its data is at fault, and every conforming node MUST arrive at the same one; a
 * negative status says that this host failed, and MUST NOT become part of a consensus.
 * - `error` MAY be NULL; otherwise it receives the status and one line of text for people.
 * - Handles are opaque. What a *_new function makes, the *_free function of the same name releases;
 *   releasing NULL does nothing. On failure a *_new function sets its output handle to NULL.
 * - Sizes are passed explicitly. Pointers MUST be naturally aligned and MAY be NULL only where it
 * is said.
 * - Tensors are dense and row-major, in the byte order of the host. Buffers of parameters and
 * state, and all hashed bytes, are little-endian.
 * - A program may be shared by threads. A session, and the shards made from it, MUST be used by one
 * thread at a time. The library has no global state.
 * - Structs that begin with `struct_size` MUST have it set by the caller to sizeof the struct; the
 * library refuses sizes it does not know.
 * - No function throws or terminates the process on bad input.
 */
#ifndef GVM_GVM_H
#define GVM_GVM_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#if defined(GVM_BUILDING)
#define GVM_API __declspec(dllexport)
#else
#define GVM_API
#endif
#else
#define GVM_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum { GVM_ABI_VERSION = 1, GVM_SEMANTICS_VERSION = 1, GVM_MAX_RANK = 8, GVM_ID_BYTES = 32 };

/* Published numbers: never changed, only added to. */
enum gvm_status {
  GVM_OK = 0,
  GVM_BAD_ENCODING = 1,      /* not the canonical bytes of anything */
  GVM_UNKNOWN_SEMANTICS = 2, /* a semantics version this library does not have */
  GVM_UNKNOWN_OPERATOR = 3,
  GVM_BAD_ATTRIBUTE = 4,
  GVM_BAD_TYPE = 5, /* element type or format */
  GVM_BAD_SHAPE = 6,
  GVM_BAD_BATCH = 7,       /* examples would mix outside a reduce */
  GVM_UNPROVED_BOUND = 8,  /* an accumulator could pass 2^62 */
  GVM_BAD_GRAPH = 9,       /* value numbers, functions, outputs */
  GVM_OVER_LIMIT = 10,     /* a limit of gvm_limits */
  GVM_BAD_PARAMETERS = 11, /* size or padding of a parameter or state buffer */
  GVM_BAD_INPUT = 12,      /* a value outside its domain: a label, a batch size */
  GVM_BAD_FILE = 13,       /* a .dmodel container */
  GVM_OUT_OF_MEMORY = -1,
  GVM_BAD_CALL = -2, /* the caller broke the contract of this header */
  GVM_NO_BACKEND = -3,
  GVM_INTERNAL = -4
};

enum gvm_dtype { GVM_I16 = 1, GVM_I32 = 2, GVM_I64 = 3, GVM_U8 = 4, GVM_BOOL = 5 };

typedef struct gvm_error {
  int32_t status;
  char message[508]; /* zero-terminated */
} gvm_error;

/* The type of a value: q stands for q * 2^-fraction_bits; a dimension of -1 is the batch. */
typedef struct gvm_type {
  uint8_t dtype;        /* enum gvm_dtype */
  int8_t fraction_bits; /* in [-32, 47] */
  uint8_t partial;      /* 1: a sum over one shard's examples */
  uint8_t rank;         /* at most GVM_MAX_RANK */
  uint8_t reserved[4];  /* MUST be 0 */
  int64_t dims[GVM_MAX_RANK];
  uint64_t bound; /* proved bound on |q|; 0 as input: that of the element type, the only one for
                     all but i64 */
} gvm_type;

/* What a node is willing to load and run. 0 in a field: the library's default for it; above 2^62:
 * 2^62.
 */
typedef struct gvm_limits {
  uint64_t struct_size;
  uint64_t program_bytes; /* default 2^26 */
  uint64_t nodes;         /* in all functions, and tensors of a section or outputs; default 2^16 */
  uint64_t parameter_bytes; /* parameters and state together; default 2^36 */
  uint64_t memory_bytes;    /* peak of a function at max_batch, and the totals; default 2^40 */
  uint64_t multiply_adds;   /* of a function at max_batch; default 2^60 */
} gvm_limits;

typedef struct gvm_program gvm_program;
typedef struct gvm_session gvm_session;
typedef struct gvm_shard gvm_shard;

GVM_API int gvm_abi_version(void);               /* GVM_ABI_VERSION of the library */
GVM_API const char* gvm_version(void);           /* release, static storage */
GVM_API const char* gvm_status_name(int status); /* static storage; "unknown" for others */

/* ---- Programs
 * ------------------------------------------------------------------------------------- */

/* Decodes and judges a program: canonical bytes, every node, shape, format, batch axis and
 * accumulator bound, then cost and memory. Copies what it needs. `limits` MAY be NULL. */
GVM_API int gvm_program_new(const uint8_t* bytes, size_t size, const gvm_limits* limits,
                            gvm_program** program, gvm_error* error);
GVM_API void gvm_program_free(gvm_program* program);

typedef struct gvm_program_info {
  uint64_t struct_size;
  uint64_t max_batch;
  uint64_t parameter_bytes, state_bytes; /* sizes of the flat little-endian buffers */
  uint64_t totals;                       /* i64 elements of all reduces of grad */
  uint32_t inputs, labels, parameters, state, outputs, total_tensors;
  uint32_t segments;     /* of grad; 0: the program cannot be trained */
  uint32_t loss_outputs; /* 0: no loss; 2: total, count; 3: total, count, correct */
  uint32_t has_apply;
  uint32_t sites; /* rounding sites of grad and apply */
  uint8_t graph_id[GVM_ID_BYTES];
  uint8_t train_id[GVM_ID_BYTES]; /* zero when there is no grad */
} gvm_program_info;
GVM_API int gvm_program_get_info(const gvm_program* program, gvm_program_info* info);

enum gvm_section {
  GVM_INPUTS = 0,
  GVM_LABELS = 1,
  GVM_PARAMETERS = 2,
  GVM_STATE = 3,
  GVM_OUTPUTS = 4,
  GVM_TOTALS = 5
};

typedef struct gvm_tensor_info {
  uint64_t struct_size;
  gvm_type type;
  uint64_t offset;  /* parameters, state: bytes into the buffer; totals: elements into the totals */
  uint32_t segment; /* totals: the segment whose reduce makes it */
  uint32_t reserved;
} gvm_tensor_info;
GVM_API int gvm_program_get_tensor(const gvm_program* program, int section, uint32_t index,
                                   gvm_tensor_info* info);

enum gvm_function { GVM_PREDICT = 0, GVM_LOSS = 1, GVM_GRAD = 2, GVM_APPLY = 3 };

/* Exact cost of a function for a batch: the same on every backend, known before anything runs. */
typedef struct gvm_cost {
  uint64_t struct_size;
  uint64_t nodes;
  uint64_t multiply_adds; /* what pooling windows read counts too */
  uint64_t bytes_moved;   /* operands and results of every node */
  uint64_t peak_bytes; /* of the memory plan: intermediate values, without parameters and inputs */
} gvm_cost;
GVM_API int gvm_program_get_cost(const gvm_program* program, int function, uint64_t batch,
                                 gvm_cost* cost);

/* Identity of a parameter buffer: BLAKE3 over its canonical bytes. Refuses a wrong size or padding.
 */
GVM_API int gvm_program_parameters_id(const gvm_program* program, const uint8_t* bytes, size_t size,
                                      uint8_t id[GVM_ID_BYTES], gvm_error* error);

/* ---- Sessions: a program on this machine
 * ---------------------------------------------------------- */

typedef struct gvm_options {
  uint64_t struct_size;
  uint32_t threads;  /* 0: one per processor */
  int32_t cpu_level; /* 0 scalar; on x86-64 1 AVX2, 2 AVX-512; on 64-bit ARM 1 NEON; -1: the best
                        here, capped by GVM_CPU of the environment; GVM_DEVICE(i): not the CPU but
                        device i, which MUST be below gvm_device_count */
} gvm_options;

#define GVM_DEVICE(index) (64 + (index))

/* Levels this machine has, best last: the highest value cpu_level may take. */
GVM_API int gvm_cpu_level(void);

/* Devices that sessions may run on: CUDA GPUs, where the library has that backend. *why (MAY be
 * NULL) says in words what stands in the way where there are none; static storage. */
GVM_API int gvm_device_count(const char** why);

/* The session keeps the program alive. Parameters and state start at zero. `options` MAY be NULL.
 */
GVM_API int gvm_session_new(const gvm_program* program, const gvm_options* options,
                            gvm_session** session, gvm_error* error);
GVM_API void gvm_session_free(gvm_session* session);

/* Sets or gets the whole flat little-endian buffer of GVM_PARAMETERS or GVM_STATE. Padding MUST be
 * zero. */
GVM_API int gvm_session_write(gvm_session* session, int section, const uint8_t* bytes, size_t size,
                              gvm_error* error);
GVM_API int gvm_session_read(const gvm_session* session, int section, uint8_t* bytes, size_t size,
                             gvm_error* error);

/* Executes predict for n examples, 1 <= n <= max_batch. inputs[i] and outputs[i] point to the
 * tensors; after a failure what the outputs hold is undefined. A bool that is not 0 or 1 is
 * refused, here and wherever tensors are given. */
GVM_API int gvm_session_predict(gvm_session* session, const void* const* inputs, uint64_t n,
                                void* const* outputs, gvm_error* error);

/* A loss: merging is addition. total has 24 fraction bits. At most 2^22 examples, and no member may
 * pass 2^62 in size. */
typedef struct gvm_loss {
  int64_t total, count, correct;
} gvm_loss;

/* Adds the loss of n examples to *loss; on failure *loss is unchanged. */
GVM_API int gvm_session_loss(gvm_session* session, const void* const* inputs,
                             const void* const* labels, uint64_t n, gvm_loss* loss,
                             gvm_error* error);

/* One shard of one training step: `local` examples from global index `offset` on, of `global` in
 * all. The random draws of the step are those of (seed, step). The tensors and the session MUST
 * outlive the shard, and the session's parameters MUST stay as they are until its last segment. */
typedef struct gvm_batch {
  uint64_t struct_size;
  uint64_t local, offset, global;
  uint64_t seed, step; /* step < 2^56 */
} gvm_batch;
GVM_API int gvm_shard_new(gvm_session* session, const gvm_batch* batch, const void* const* inputs,
                          const void* const* labels, gvm_shard** shard, gvm_error* error);
GVM_API void gvm_shard_free(gvm_shard* shard);

/* Executes one segment of grad, in order, and ADDS its partial sums to `sums`. `totals` holds the
 * sums of all earlier segments over all shards (MAY be NULL for segment 0). Both have
 * gvm_program_info.totals elements; only the ranges of the segments concerned are touched. `totals`
 * and `sums` MUST NOT overlap. Totals, and sums as they become, that pass the bound of their type
 * are GVM_BAD_INPUT. On failure `sums` is unchanged, and no further segment of the shard runs. */
GVM_API int gvm_shard_run(gvm_shard* shard, uint32_t segment, const int64_t* totals, int64_t* sums,
                          gvm_error* error);

/* Executes apply on the totals of all segments: parameters and state advance by one step, or stay
 * on failure. Totals that pass the bound of their type are GVM_BAD_INPUT. */
GVM_API int gvm_session_apply(gvm_session* session, const int64_t* totals, uint64_t seed,
                              uint64_t step, gvm_error* error);

/* One whole step in one call: the only shard of its batch, which MUST hold all of it (offset 0,
 * local = global), and apply. The result is that of gvm_shard_run and gvm_session_apply; it is
 * quicker, since no total leaves the session. The first `count` totals go to `totals` (the loss,
 * the number of examples ...); count MAY be 0. On failure parameters, state and `totals` stay. */
GVM_API int gvm_session_step(gvm_session* session, const gvm_batch* batch,
                             const void* const* inputs, const void* const* labels, int64_t* totals,
                             size_t count, gvm_error* error);

/* What somebody says that the exact sums of a product are: node `node` of grad (program order), a
 * matrix product, a convolution or a gradient of one. `sums` are the `elements` of its i64 result,
 * row-major, as type GVM_I32 or GVM_I64. */
typedef struct gvm_claim {
  const void* sums;
  uint64_t elements;
  uint32_t node;
  uint32_t type;
} gvm_claim;

/* How claims were found: how many were checked; and the first wrong one (node -1: none), with its
 * first wrong element, what was claimed and what is true. */
typedef struct gvm_finding {
  uint32_t checked;
  int32_t node;
  int64_t element, claimed, computed;
} gvm_finding;

/* gvm_session_step with claims in place of the products that they are of, which are checked in
 * less time than they take to compute (Freivalds). A wrong claim passes with a probability below
 * 2^-80, if `key` is random and nobody knew it when the claims were made. A claim that cannot be
 * checked (of a grouped convolution) is not read, and its product executed. The result is GVM_OK
 * with a wrong claim too; parameters and state then stay. Not on devices. */
GVM_API int gvm_session_check_step(gvm_session* session, const gvm_batch* batch,
                                   const void* const* inputs, const void* const* labels,
                                   const gvm_claim* claims, size_t count, const uint8_t key[32],
                                   gvm_finding* finding, gvm_error* error);

/* Elements that rounding has clamped since the session began, per node of a function in program
 * order. Results without a batch count in the shard at offset 0 alone: counts of shards add up. */
GVM_API int gvm_session_get_clamps(const gvm_session* session, int function, int64_t* counts,
                                   size_t nodes, gvm_error* error);

/* What one step took: the nodes it executes (numbers in program order; -1: none), its time in
 * nanoseconds of a steady clock, and the tiles of matrix products by route: one 32-bit sum, 64-bit
 * sums of those, bytes, few rows. A measurement: no result depends on it. */
typedef struct gvm_step_time {
  int32_t function;
  int32_t nodes[4];
  int64_t begin, end;
  int64_t tiles[4];
} gvm_step_time;

/* on != 0: times every step that is executed from here on, 2^20 at most; 0: no more. Either way
 * what was measured is forgotten. */
GVM_API int gvm_session_set_profile(gvm_session* session, int on, gvm_error* error);

/* Writes at most `count` of the steps measured, in order of execution, and returns how many there
 * are, or a negative status. */
GVM_API int64_t gvm_session_get_profile(const gvm_session* session, gvm_step_time* steps,
                                        size_t count);

/* The plan of a function for people: fused steps, buffers. Writes at most size bytes with the final
 * zero and returns the length it wanted, or a negative status. */
GVM_API int64_t gvm_session_plan(gvm_session* session, int function, uint64_t batch, char* text,
                                 size_t size);

/* ---- Operators: one node, judged and executed by itself
 * ------------------------------------------- */

/* Attribute values in schema order, each as a list: values of attribute i are
 * values[offsets[i]] .. values[offsets[i + 1] - 1]. */
typedef struct gvm_attributes {
  uint32_t count;
  const uint32_t* offsets; /* count + 1 */
  const int64_t* values;
} gvm_attributes;

/* Derives output types. `outputs` has room for *output_count types and receives the number there
 * are. */
GVM_API int gvm_operator_infer(uint16_t opcode, const gvm_attributes* attributes,
                               const gvm_type* inputs, uint32_t input_count, uint64_t max_batch,
                               int64_t node, gvm_type* outputs, uint32_t* output_count,
                               uint32_t* sites, gvm_error* error);

/* Executes one node on one shard. Counts clamped elements into *clamps (MAY be NULL). An i64 that
 * passes the bound of its type is GVM_BAD_INPUT, a site of 2^24 or more too. */
GVM_API int gvm_operator_run(uint16_t opcode, const gvm_attributes* attributes,
                             const gvm_type* input_types, const void* const* inputs,
                             uint32_t input_count, const gvm_batch* batch, uint32_t site,
                             const gvm_options* options, void* const* outputs, int64_t* clamps,
                             gvm_error* error);

/* Name of an operator, or NULL. Static storage. */
GVM_API const char* gvm_operator_name(uint16_t opcode);

/* ---- Referee: one element of one node's result, decided without the model
 * ------------------------------------------- */

/* What a claim's element is. refused: 1 where the operator refuses its operands, so that whatever
 * was claimed of it is wrong; else 0, and the element, or the sum of the terms claimed, is value.
 */
typedef struct gvm_verdict {
  uint64_t struct_size;
  int32_t refused;
  uint32_t reserved;
  int64_t value;
} gvm_verdict;

/* Decides a claim (docs/traces.md): any bytes may be given. A positive status says that they prove
 * nothing, and leaves *verdict as it is. GVM_OVER_LIMIT: the operands and results that the element
 * needs take more than `memory` bytes; 0: 2^30. What the bytes take themselves is not counted. */
GVM_API int gvm_referee(const uint8_t* claim, size_t size, uint64_t memory, gvm_verdict* verdict,
                        gvm_error* error);

/* ---- Files: the .dmodel container
 * ----------------------------------------------------------------- */

/* Parts of a .dmodel, as views into the bytes parsed. Absent parts have size 0. */
typedef struct gvm_file {
  uint64_t struct_size;
  const uint8_t* program;
  uint64_t program_size;
  const uint8_t* parameters;
  uint64_t parameters_size;
  const uint8_t* state;
  uint64_t state_size;
  const uint8_t* info; /* canonical CBOR for the tools: names, origin, history; covered by no id */
  uint64_t info_size;
} gvm_file;

/* Checks the header, sizes and the checksum. */
GVM_API int gvm_file_parse(const uint8_t* bytes, size_t size, gvm_file* file, gvm_error* error);
/* Size of the container of these parts (0: they cannot be one), and its bytes. */
GVM_API uint64_t gvm_file_size(const gvm_file* file);
GVM_API int gvm_file_write(const gvm_file* file, uint8_t* bytes, size_t size, gvm_error* error);

/* ---- Arithmetic that hosts share with the library
 * -------------------------------------------------- */

GVM_API void gvm_blake3(const void* bytes, size_t size, uint8_t id[GVM_ID_BYTES]);

/* The tree inside of BLAKE3, for proofs that a chunk belongs to a hash. Chaining values of the
 * 1024-byte chunks of `bytes`, of which the first has the number `first`, 32 bytes each; only the
 * last chunk may be shorter, and no bytes are one empty chunk. root != 0: the bytes are one chunk,
 * number 0, and all there is; the result is their hash. */
GVM_API int gvm_blake3_chunks(const void* bytes, size_t size, uint64_t first, int root,
                              uint8_t* values);
/* The chaining value of two neighbouring subtrees, each of GVM_ID_BYTES; root != 0: the hash of all
 * there is. */
GVM_API void gvm_blake3_parent(const uint8_t* left, const uint8_t* right, int root,
                               uint8_t value[GVM_ID_BYTES]);

/* 32-bit Philox draws of elements first .. first + count - 1 (numerics section 3). */
GVM_API int gvm_random_words(uint64_t seed, uint32_t site, uint64_t step, uint32_t purpose,
                             uint64_t first, uint32_t* words, size_t count);

/* The correctly rounded table of a unary function: 65 536 entries indexed by the bits of the i16
 * input. bits: 16 or 32. clamped (MAY be NULL) receives 1 where the type's range was left. */
GVM_API int gvm_unary_table(int function, int in_fraction_bits, int out_fraction_bits, int bits,
                            int32_t* table, uint8_t* clamped);

#ifdef __cplusplus
}
#endif

#endif
