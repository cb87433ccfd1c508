/* programs/: whole files and what follows from them, and programs that are refused. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "conform.h"
#include "model.h"

enum { BATCH = 4, SEED = 7, STEP = 3 };

/* ---- Text that grows */

typedef struct text {
  char* bytes;
  size_t size, capacity;
} text;

static void put_string(text* t, const char* string) {
  const size_t length = strlen(string);
  if (t->capacity - t->size <= length) {
    char* grown;
    t->capacity = 2 * t->capacity + length + 64;
    grown = (char*)allocate(t->capacity, 1);
    if (t->bytes) memcpy(grown, t->bytes, t->size);
    free(t->bytes);
    t->bytes = grown;
  }
  memcpy(t->bytes + t->size, string, length + 1);
  t->size += length;
}

static void put_number(text* t, int64_t value) {
  char digits[32];
  snprintf(digits, sizeof digits, "%s%" PRId64, t->size ? "," : "", value);
  put_string(t, digits);
}

static void put_tensor(text* t, const void* data, uint8_t dtype, uint64_t count) {
  uint64_t i;
  for (i = 0; i < count; ++i) put_number(t, element_get(data, dtype, i));
}

/* ---- known.txt */

/* What one file leads to: a batch of given examples, and one step of training in one shard. */
typedef struct outcome {
  model m;
  tensors inputs, labels, outputs;
  gvm_loss loss;
  int64_t* totals;
  uint8_t next_parameters[GVM_ID_BYTES], next_state[GVM_ID_BYTES];
  int begun, computed;
} outcome;

static void begin(const conform* c, const char* name, outcome* o) {
  memset(o, 0, sizeof *o);
  o->begun = 1;
  if (!model_open(c, name, &o->m)) return;
  tensors_make(&o->inputs, o->m.info.inputs);
  tensors_make(&o->labels, o->m.info.labels);
  tensors_make(&o->outputs, o->m.info.outputs);
}

static void end(outcome* o) {
  if (!o->begun) return;
  tensors_free(&o->inputs);
  tensors_free(&o->labels);
  tensors_free(&o->outputs);
  free(o->totals);
  model_close(&o->m);
  memset(o, 0, sizeof *o);
}

/* A tensor of a section from its list of integers. */
static int give(const model* m, int section, uint32_t index, tensors* t, const char* list) {
  gvm_tensor_info info;
  int64_t* values;
  uint64_t n, i;
  info.struct_size = sizeof info;
  if (index >= t->count || gvm_program_get_tensor(m->program, section, index, &info) != GVM_OK)
    return 0;
  n = type_elements(&info.type, BATCH);
  values = (int64_t*)allocate((size_t)n, sizeof *values);
  if (n == 0 || parse_list(list, strlen(list), values, (size_t)n) != n) {
    free(values);
    return 0;
  }
  t->data[index] = allocate((size_t)n, dtype_bytes(info.type.dtype));
  for (i = 0; i < n; ++i) element_set(t->data[index], info.type.dtype, i, values[i]);
  free(values);
  return 1;
}

static int given(const tensors* t) {
  uint32_t i;
  for (i = 0; i < t->count; ++i) {
    if (!t->data[i]) return 0;
  }
  return 1;
}

/* Executes all once; returns a status. */
static int compute(outcome* o, gvm_error* error) {
  model* const m = &o->m;
  gvm_batch batch;
  gvm_shard* shard = NULL;
  int64_t* sums;
  uint32_t i, segment;
  uint64_t e;
  int status;
  if (o->computed) return GVM_OK;
  o->computed = 1;
  if (!given(&o->inputs) || !given(&o->labels)) return GVM_BAD_CALL;
  for (i = 0; i < o->outputs.count; ++i) {
    gvm_tensor_info info;
    info.struct_size = sizeof info;
    gvm_program_get_tensor(m->program, GVM_OUTPUTS, i, &info);
    o->outputs.data[i] =
        allocate((size_t)type_elements(&info.type, BATCH), dtype_bytes(info.type.dtype));
  }
  status = gvm_session_predict(m->session, (const void* const*)o->inputs.data, BATCH,
                               o->outputs.data, error);
  if (status != GVM_OK || m->info.segments == 0) return status;
  status = gvm_session_loss(m->session, (const void* const*)o->inputs.data,
                            (const void* const*)o->labels.data, BATCH, &o->loss, error);
  if (status != GVM_OK) return status;
  memset(&batch, 0, sizeof batch);
  batch.struct_size = sizeof batch;
  batch.local = batch.global = BATCH;
  batch.seed = SEED;
  batch.step = STEP;
  status = gvm_shard_new(m->session, &batch, (const void* const*)o->inputs.data,
                         (const void* const*)o->labels.data, &shard, error);
  o->totals = (int64_t*)allocate((size_t)m->info.totals, sizeof *o->totals);
  sums = (int64_t*)allocate((size_t)m->info.totals, sizeof *sums);
  for (segment = 0; status == GVM_OK && segment < m->info.segments; ++segment) {
    memset(sums, 0, (size_t)m->info.totals * sizeof *sums);
    status = gvm_shard_run(shard, segment, o->totals, sums, error);
    for (e = 0; e < m->info.totals; ++e) o->totals[e] += sums[e];
  }
  free(sums);
  gvm_shard_free(shard);
  if (status == GVM_OK) status = gvm_session_apply(m->session, o->totals, SEED, STEP, error);
  if (status == GVM_OK) status = model_ids(m, o->next_parameters, o->next_state, error);
  return status;
}

/* The value of a key; `published` is taken for inputs and labels. */
static void known_line(outcome* o, const char* key, const char* published, text* out) {
  const gvm_program_info* const info = &o->m.info;
  char id[2 * GVM_ID_BYTES + 1] = "";
  gvm_error error;
  gvm_tensor_info t;
  uint32_t index;
  uint8_t bytes[GVM_ID_BYTES];
  int status = GVM_OK;
  out->size = 0;
  error.status = 0;
  error.message[0] = 0;
  t.struct_size = sizeof t;
  if (!o->m.session) {
    strcpy(id, "no session");
  } else if (strcmp(key, "graph_id") == 0) {
    hex_of(info->graph_id, GVM_ID_BYTES, id);
  } else if (strcmp(key, "train_id") == 0) {
    hex_of(info->train_id, GVM_ID_BYTES, id);
  } else if (strcmp(key, "parameters_id") == 0) {
    status = model_ids(&o->m, bytes, NULL, &error);
    hex_of(bytes, GVM_ID_BYTES, id);
  } else if (strncmp(key, "input", 5) == 0 || strncmp(key, "label", 5) == 0) {
    const int label = key[0] == 'l';
    tensors* const to = label ? &o->labels : &o->inputs;
    index = (uint32_t)strtoul(key + 5, NULL, 10);
    if (give(&o->m, label ? GVM_LABELS : GVM_INPUTS, index, to, published)) {
      gvm_program_get_tensor(o->m.program, label ? GVM_LABELS : GVM_INPUTS, index, &t);
      put_tensor(out, to->data[index], t.type.dtype, type_elements(&t.type, BATCH));
      return;
    }
    strcpy(id, "unreadable");
  } else if ((status = compute(o, &error)) != GVM_OK) {
    id[0] = 0;
  } else if (strncmp(key, "output", 6) == 0) {
    index = (uint32_t)strtoul(key + 6, NULL, 10);
    if (gvm_program_get_tensor(o->m.program, GVM_OUTPUTS, index, &t) == GVM_OK) {
      put_tensor(out, o->outputs.data[index], t.type.dtype, type_elements(&t.type, BATCH));
      return;
    }
    strcpy(id, "no such output");
  } else if (strcmp(key, "loss") == 0) {
    put_number(out, o->loss.total);
    put_number(out, o->loss.count);
    put_number(out, o->loss.correct);
    return;
  } else if (strcmp(key, "totals") == 0 && o->totals) {
    put_tensor(out, o->totals, GVM_I64, info->totals);
    return;
  } else if (strcmp(key, "next_parameters_id") == 0) {
    hex_of(o->next_parameters, GVM_ID_BYTES, id);
  } else if (strcmp(key, "next_state") == 0) {
    hex_of(o->next_state, GVM_ID_BYTES, id);
  } else {
    strcpy(id, "an unknown key");
  }
  if (status != GVM_OK) snprintf(id, sizeof id, "failed %d: %.40s", status, error.message);
  put_string(out, id);
}

void run_programs(conform* c) {
  vectors v;
  size_t line;
  int i;
  char** f;
  suite_begin(c);
  if (!vectors_read(c->folder, "programs/known.txt", &v)) {
    ++c->failures;
    return;
  }
  for (i = 0; i < c->level_count; ++i) {
    const char* name = "";
    outcome o;
    text out = {NULL, 0, 0};
    memset(&o, 0, sizeof o);
    c->level = c->levels[i];
    for (line = 0; line < v.line_count; ++line) {
      if (line_fields(&v, line, &f) != 3) {
        answer(c, "programs/known.txt", line, "a line of an unknown kind", "");
        continue;
      }
      if (strcmp(name, f[0]) != 0) {
        end(&o);
        begin(c, f[0], &o);
        name = f[0];
      }
      known_line(&o, f[1], f[2], &out);
      answer(c, "programs/known.txt", line, out.bytes, f[2]);
    }
    end(&o);
    free(out.bytes);
  }
  suite_end(c, "programs", "known", v.line_count);
  vectors_free(&v);
}

/* ---- refused.txt: status limits bytes */

static int parse_limits(const char* field, gvm_limits* limits) {
  int64_t values[5];
  uint64_t* const to[] = {&limits->program_bytes, &limits->nodes, &limits->parameter_bytes,
                          &limits->memory_bytes, &limits->multiply_adds};
  size_t i;
  memset(limits, 0, sizeof *limits);
  limits->struct_size = sizeof *limits;
  if (strcmp(field, "-") == 0) return 1;
  if (parse_list(field, strlen(field), values, 5) != 5) return 0;
  for (i = 0; i < 5; ++i) *to[i] = (uint64_t)values[i];
  return 1;
}

void run_refusals(conform* c) {
  static const char kFile[] = "programs/refused.txt";
  vectors v;
  size_t line;
  char** f;
  char received[64], published[64];
  suite_begin(c);
  if (!vectors_read(c->folder, kFile, &v)) {
    ++c->failures;
    return;
  }
  for (line = 0; line < v.line_count; ++line) {
    gvm_limits limits;
    gvm_program* program = NULL;
    uint8_t* bytes;
    size_t size = 0;
    if (line_fields(&v, line, &f) != 3 || !parse_limits(f[1], &limits)) {
      answer(c, kFile, line, "a line of an unknown kind", "");
      continue;
    }
    bytes = (uint8_t*)allocate(strlen(f[2]) / 2, 1);
    if (parse_hex(f[2], bytes, &size)) {
      const int status = gvm_program_new(bytes, size, &limits, &program, NULL);
      snprintf(received, sizeof received, "%d%s", status, program ? " and a program" : "");
      gvm_program_free(program);
    } else {
      snprintf(received, sizeof received, "unreadable");
    }
    free(bytes);
    snprintf(published, sizeof published, "%s", f[0]);
    answer(c, kFile, line, received, published);
  }
  suite_end(c, "programs", "refused", v.line_count);
  vectors_free(&v);
}
