/* programs/runs.txt: training runs, every step in another partition of its batch. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "conform.h"
#include "model.h"

enum { PURPOSE_USER = 8, MOST_TENSORS = 8, MOST_WORKERS = 64 };

/* ---- The line that says what a run is */

typedef struct run {
  const char* name;
  uint64_t examples, batch, seed;
  model m;
  tensors inputs, labels;        /* of all examples */
  uint64_t row[2][MOST_TENSORS]; /* bytes of one example */
} run;

/* Tensors of a section for all examples: element i of tensor p of a section is least + floor(w *
 * (greatest - least + 1) / 2^32), w being word i of the draws of (seed, 2 * p + section, 0, USER).
 */
static int paint(run* r, int section, const char* ranges, tensors* to) {
  const char* at = ranges;
  uint32_t p;
  tensors_make(to, section == GVM_INPUTS ? r->m.info.inputs : r->m.info.labels);
  for (p = 0; p < to->count; ++p) {
    gvm_tensor_info info;
    uint64_t n, i;
    uint32_t* words;
    int64_t least, span;
    char* after;
    info.struct_size = sizeof info;
    if (p == MOST_TENSORS || !at ||
        gvm_program_get_tensor(r->m.program, section, p, &info) != GVM_OK || info.type.rank == 0 ||
        info.type.dims[0] != -1)
      return 0;
    least = strtoll(at, &after, 10);
    if (*after != ':') return 0;
    span = strtoll(after + 1, &after, 10) - least + 1;
    at = *after == ';' ? after + 1 : NULL;
    n = type_elements(&info.type, r->examples);
    if (n == 0) return 0;
    r->row[section][p] = n / r->examples * dtype_bytes(info.type.dtype);
    to->data[p] = allocate((size_t)n, dtype_bytes(info.type.dtype));
    words = (uint32_t*)allocate((size_t)n, sizeof *words);
    if (gvm_random_words(r->seed, 2 * p + (uint32_t)section, 0, PURPOSE_USER, 0, words,
                         (size_t)n) != GVM_OK) {
      free(words);
      return 0;
    }
    for (i = 0; i < n; ++i) {
      const int64_t q = least + (int64_t)((uint64_t)words[i] * (uint64_t)span >> 32);
      element_set(to->data[p], info.type.dtype, i, q);
    }
    free(words);
  }
  return at == NULL || to->count == 0;
}

/* run file examples batch seed inputs labels */
static int run_open(const conform* c, char** f, run* r) {
  memset(r, 0, sizeof *r);
  r->name = f[1];
  r->examples = strtoull(f[2], NULL, 10);
  r->batch = strtoull(f[3], NULL, 10);
  r->seed = strtoull(f[4], NULL, 10);
  if (!model_open(c, r->name, &r->m)) return 0;
  return r->batch > 0 && r->examples % r->batch == 0 && r->batch <= r->m.info.max_batch &&
         paint(r, GVM_INPUTS, f[5], &r->inputs) && paint(r, GVM_LABELS, f[6], &r->labels);
}

static void run_close(run* r) {
  tensors_free(&r->inputs);
  tensors_free(&r->labels);
  model_close(&r->m);
}

static void rows(const run* r, uint64_t first, const void** inputs, const void** labels) {
  uint32_t p;
  for (p = 0; p < r->inputs.count; ++p)
    inputs[p] = (const uint8_t*)r->inputs.data[p] + first * r->row[GVM_INPUTS][p];
  for (p = 0; p < r->labels.count; ++p)
    labels[p] = (const uint8_t*)r->labels.data[p] + first * r->row[GVM_LABELS][p];
}

static uint64_t first_of(const run* r, uint64_t step) { return step * r->batch % r->examples; }

/* ---- One step */

/* A shard of each of `count` sizes that make the batch, each on one of the sessions, the last of
 * them first; then the totals to all sessions. */
static int step_in_shards(const run* r, gvm_session** sessions, const int* session_of,
                          int session_count, const uint64_t* sizes, int count, uint64_t step,
                          gvm_error* error) {
  const size_t n = (size_t)r->m.info.totals;
  int64_t* const totals = (int64_t*)allocate(n, sizeof *totals);
  int64_t* const sums = (int64_t*)allocate(n, sizeof *sums);
  gvm_shard** const shards = (gvm_shard**)allocate((size_t)count, sizeof *shards);
  gvm_batch batch;
  uint32_t segment;
  size_t e;
  int i, status = GVM_OK;
  memset(&batch, 0, sizeof batch);
  batch.struct_size = sizeof batch;
  batch.global = r->batch;
  batch.seed = r->seed;
  batch.step = step;
  for (i = 0; i < count && status == GVM_OK; ++i) {
    const void *inputs[MOST_TENSORS], *labels[MOST_TENSORS];
    rows(r, first_of(r, step) + batch.offset, inputs, labels);
    batch.local = sizes[i];
    status = gvm_shard_new(sessions[session_of[i]], &batch, inputs, labels, &shards[i], error);
    batch.offset += sizes[i];
  }
  for (segment = 0; segment < r->m.info.segments && status == GVM_OK; ++segment) {
    memset(sums, 0, n * sizeof *sums);
    for (i = count - 1; i >= 0 && status == GVM_OK; --i)
      status = gvm_shard_run(shards[i], segment, totals, sums, error);
    for (e = 0; e < n; ++e) totals[e] += sums[e];
  }
  for (i = 0; i < count; ++i) gvm_shard_free(shards[i]);
  for (i = 0; i < session_count && status == GVM_OK; ++i)
    status = gvm_session_apply(sessions[i], totals, r->seed, step, error);
  free(shards);
  free(sums);
  free(totals);
  return status;
}

static int step_at_once(const run* r, gvm_session* session, uint64_t step, gvm_error* error) {
  const void *inputs[MOST_TENSORS], *labels[MOST_TENSORS];
  gvm_batch batch;
  memset(&batch, 0, sizeof batch);
  batch.struct_size = sizeof batch;
  batch.local = batch.global = r->batch;
  batch.seed = r->seed;
  batch.step = step;
  rows(r, first_of(r, step), inputs, labels);
  return gvm_session_step(session, &batch, inputs, labels, NULL, 0, error);
}

/* One call; one shard; two of unequal size; three. */
static int step_mixed(const run* r, gvm_session* session, uint64_t step, gvm_error* error) {
  static const int kOne[3] = {0, 0, 0};
  const uint64_t n = r->batch;
  uint64_t sizes[3];
  int count = 0;
  if (step % 4 == 0) return step_at_once(r, session, step, error);
  if (step % 4 == 3 && n > 2) sizes[count++] = 1;
  if (step % 4 >= 2 && n > 1) sizes[count++] = (n + 2) / 3;
  sizes[count] = n;
  if (count > 0) sizes[count] -= sizes[0];
  if (count > 1) sizes[count] -= sizes[1];
  return step_in_shards(r, &session, kOne, 1, sizes, count + 1, step, error);
}

/* ---- runs.txt */

/* The ids, and the loss over all examples. */
static int where_it_stands(const run* r, const gvm_session* session, int with_loss, char* text,
                           size_t size, gvm_error* error) {
  uint8_t id[GVM_ID_BYTES], state[GVM_ID_BYTES];
  char id_text[2 * GVM_ID_BYTES + 1], state_text[2 * GVM_ID_BYTES + 1];
  const void *inputs[MOST_TENSORS], *labels[MOST_TENSORS];
  gvm_loss loss = {0, 0, 0};
  uint64_t at;
  int status = session_ids(&r->m, session, id, state, error);
  for (at = 0; with_loss && at < r->examples && status == GVM_OK; at += r->batch) {
    rows(r, at, inputs, labels);
    status = gvm_session_loss((gvm_session*)session, inputs, labels, r->batch, &loss, error);
  }
  hex_of(id, sizeof id, id_text);
  hex_of(state, sizeof state, state_text);
  snprintf(text, size, "%s %s %" PRId64 ",%" PRId64 ",%" PRId64, id_text, state_text, loss.total,
           loss.count, loss.correct);
  return status;
}

static void follow(conform* c, const vectors* v, size_t line) {
  run r;
  char** f;
  char received[512], published[512];
  uint64_t step = 0;
  gvm_error error;
  line_fields(v, line, &f);
  if (!run_open(c, f, &r)) {
    answer(c, "programs/runs.txt", line, "cannot be run", "");
  } else {
    while (++line < v->line_count && line_fields(v, line, &f) == 6 && strcmp(f[0], "at") == 0) {
      const uint64_t until = strtoull(f[2], NULL, 10);
      int status = GVM_OK;
      if (until > c->steps) break;
      for (; step < until && status == GVM_OK; ++step)
        status = step_mixed(&r, r.m.session, step, &error);
      if (status == GVM_OK)
        status = where_it_stands(&r, r.m.session, 1, received, sizeof received, &error);
      if (status != GVM_OK)
        snprintf(received, sizeof received, "failed %d: %.400s", status, error.message);
      snprintf(published, sizeof published, "%s %s %s", f[3], f[4], f[5]);
      answer(c, "programs/runs.txt", line, received, published);
      if (status != GVM_OK) break;
    }
  }
  if (c->level == c->levels[0]) suite_end(c, "training", r.name, step);
  run_close(&r);
}

void run_training(conform* c) {
  vectors v;
  size_t line;
  char** f;
  int i;
  if (!vectors_read(c->folder, "programs/runs.txt", &v)) {
    ++c->failures;
    return;
  }
  for (line = 0; line < v.line_count; ++line) {
    const size_t n = line_fields(&v, line, &f);
    if (n == 7 && strcmp(f[0], "run") == 0) {
      suite_begin(c);
      for (i = 0; i < c->level_count; ++i) {
        c->level = c->levels[i];
        follow(c, &v, line);
      }
    } else if (n != 6 || strcmp(f[0], "at") != 0) {
      answer(c, "programs/runs.txt", line, "a line of an unknown kind", "");
    }
  }
  vectors_free(&v);
}

/* ---- The drill: one run in every way there is */

/* c->steps steps on `workers` sessions; every session's part in micro-batches. */
static int drill_way(const conform* c, const run* r, int workers, uint64_t micro, char* text,
                     size_t size) {
  gvm_session* sessions[MOST_WORKERS] = {NULL};
  uint64_t sizes[256], step;
  int session_of[256], count = 0, i, status = GVM_OK;
  char other[512];
  gvm_error error;
  for (i = 0; i < workers; ++i) {
    const uint64_t begin = r->batch * (uint64_t)i / (uint64_t)workers;
    const uint64_t end = r->batch * ((uint64_t)i + 1) / (uint64_t)workers;
    uint64_t at = begin;
    sessions[i] = model_session(c, &r->m);
    if (!sessions[i]) status = GVM_INTERNAL;
    while (at < end && count < 256) {
      sizes[count] = micro && micro < end - at ? micro : end - at;
      session_of[count] = i;
      at += sizes[count++];
    }
  }
  for (step = 0; step < c->steps && status == GVM_OK; ++step) {
    if (workers == 1 && micro == 0 && step % 2 == 0) {
      status = step_at_once(r, sessions[0], step, &error);
    } else {
      status = step_in_shards(r, sessions, session_of, workers, sizes, count, step, &error);
    }
  }
  for (i = 0; i < workers && status == GVM_OK; ++i) {
    status =
        where_it_stands(r, sessions[i], i == 0, i ? other : text, i ? sizeof other : size, &error);
    /* Ids only: the loss was taken on the first. */
    if (i && status == GVM_OK && strncmp(other, text, 4 * GVM_ID_BYTES + 1) != 0) {
      snprintf(text, size, "worker %d differs", i);
      break;
    }
  }
  if (status != GVM_OK) snprintf(text, size, "failed %d", status);
  for (i = 0; i < workers; ++i) gvm_session_free(sessions[i]);
  return status == GVM_OK;
}

int run_drill(conform* c) {
  static const int kWorkers[] = {1, 2, 3, 7, 48};
  static const uint64_t kMicro[] = {0, 1, 5};
  const uint32_t threads[] = {c->threads ? c->threads : 1, 2}; /* both, where none is asked for */
  const int thread_counts = c->threads ? 1 : 2;
  vectors v;
  run r;
  char** f;
  char text[512], expected[512] = "";
  int i, w, k, t, ways = 0, different = 0;
  if (!vectors_read(c->folder, "programs/runs.txt", &v)) return 2;
  line_fields(&v, 0, &f);
  c->level = c->levels[0];
  if (!run_open(c, f, &r)) return 2;
  for (i = 0; i < c->level_count; ++i) {
    for (t = 0; t < thread_counts; ++t) {
      for (w = 0; w < 5; ++w) {
        for (k = 0; k < 3; ++k) {
          c->level = c->levels[i];
          c->threads = threads[t];
          drill_way(c, &r, kWorkers[w], kMicro[k], text, sizeof text);
          if (!ways++) strcpy(expected, text);
          if (strcmp(text, expected) != 0) {
            ++different;
            printf("DIFFERS: level %d, threads %d, workers %d, micro-batch %d: %s\n", (int)c->level,
                   (int)c->threads, kWorkers[w], (int)kMicro[k], text);
          }
        }
      }
    }
  }
  printf("drill %s %" PRIu64 " steps, %d ways, %d differ: %s\n", r.name, c->steps, ways, different,
         expected);
  run_close(&r);
  vectors_free(&v);
  return different ? 1 : 0;
}
