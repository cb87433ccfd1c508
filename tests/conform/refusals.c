/* programs/refused_calls.txt: status file call what value. Calls on a program that has loaded, all
 * of whose data are zeros but for one change. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "conform.h"
#include "model.h"

enum { BATCH = 4 };

/* What a call takes. The batch of inputs and labels is in memory for 8 examples. */
typedef struct scene {
  const conform* c;
  model m;
  tensors inputs, labels, outputs;
  gvm_batch batch;
  int64_t *totals, *sums;
  uint64_t step;
} scene;

static void fill(const model* m, int section, uint32_t count, tensors* t) {
  gvm_tensor_info info;
  uint32_t i;
  info.struct_size = sizeof info;
  tensors_make(t, count);
  for (i = 0; i < count; ++i) {
    gvm_program_get_tensor(m->program, section, i, &info);
    t->data[i] =
        allocate((size_t)type_elements(&info.type, 2 * BATCH), dtype_bytes(info.type.dtype));
  }
}

static int open_scene(const conform* c, const char* name, scene* s) {
  memset(s, 0, sizeof *s);
  s->c = c;
  if (!model_open(c, name, &s->m)) return 0;
  fill(&s->m, GVM_INPUTS, s->m.info.inputs, &s->inputs);
  fill(&s->m, GVM_LABELS, s->m.info.labels, &s->labels);
  fill(&s->m, GVM_OUTPUTS, s->m.info.outputs, &s->outputs);
  s->totals = (int64_t*)allocate((size_t)s->m.info.totals + 1, sizeof *s->totals);
  s->sums = (int64_t*)allocate((size_t)s->m.info.totals + 1, sizeof *s->sums);
  s->batch.struct_size = sizeof s->batch;
  s->batch.local = s->batch.global = BATCH;
  return 1;
}

static void close_scene(scene* s) {
  tensors_free(&s->inputs);
  tensors_free(&s->labels);
  tensors_free(&s->outputs);
  free(s->totals);
  free(s->sums);
  model_close(&s->m);
}

/* what: batch, local, offset, step, or <tensor>:<element>; 0: nothing of that name. */
static int change(scene* s, const char* what, int64_t value) {
  const char* const colon = strchr(what, ':');
  const uint64_t element = colon ? strtoull(colon + 1, NULL, 10) : 0;
  gvm_tensor_info info;
  info.struct_size = sizeof info;
  if (strcmp(what, "batch") == 0) {
    s->batch.local = s->batch.global = (uint64_t)value;
  } else if (strcmp(what, "local") == 0) {
    s->batch.local = (uint64_t)value;
  } else if (strcmp(what, "offset") == 0) {
    s->batch.offset = (uint64_t)value;
  } else if (strcmp(what, "step") == 0) {
    s->batch.step = (uint64_t)value;
  } else if (!colon) {
    return 0;
  } else if (strncmp(what, "total:", 6) == 0 && element < s->m.info.totals) {
    s->totals[element] = value;
  } else if (strncmp(what, "sum:", 4) == 0 && element < s->m.info.totals) {
    s->sums[element] = value;
  } else if (strncmp(what, "input", 5) == 0 || strncmp(what, "label", 5) == 0) {
    const int label = what[0] == 'l';
    const tensors* const t = label ? &s->labels : &s->inputs;
    const uint32_t index = (uint32_t)strtoul(what + 5, NULL, 10);
    if (index >= t->count) return 0;
    gvm_program_get_tensor(s->m.program, label ? GVM_LABELS : GVM_INPUTS, index, &info);
    if (element >= type_elements(&info.type, BATCH)) return 0;
    element_set(t->data[index], info.type.dtype, element, value);
  } else {
    return 0;
  }
  return 1;
}

static int call_gradient(scene* s, gvm_error* error) {
  gvm_shard* shard = NULL;
  uint32_t segment;
  uint64_t e;
  int status = gvm_shard_new(s->m.session, &s->batch, (const void* const*)s->inputs.data,
                             (const void* const*)s->labels.data, &shard, error);
  for (segment = 0; status == GVM_OK && segment < s->m.info.segments; ++segment) {
    status = gvm_shard_run(shard, segment, s->totals, s->sums, error);
    for (e = 0; e < s->m.info.totals; ++e) {
      s->totals[e] = (int64_t)((uint64_t)s->totals[e] + (uint64_t)s->sums[e]);
      s->sums[e] = 0;
    }
  }
  gvm_shard_free(shard);
  return status;
}

/* Writes the parameters or the state of the file with one byte changed, or with another size. */
static int call_write(scene* s, int section, const char* what, int64_t value, gvm_error* error) {
  const int state = section == GVM_STATE;
  size_t size = (size_t)(state ? s->m.info.state_bytes : s->m.info.parameter_bytes);
  uint8_t* const bytes = (uint8_t*)allocate(size + 64, 1);
  uint8_t id[GVM_ID_BYTES];
  int status;
  if (strcmp(what, "size") == 0) {
    size = (size_t)((int64_t)size + value);
  } else {
    bytes[strtoull(what + 5, NULL, 10)] = (uint8_t)value; /* byte:<index> */
  }
  status = gvm_session_write(s->m.session, section, bytes, size, error);
  if (!state && status != gvm_program_parameters_id(s->m.program, bytes, size, id, error))
    status = -1000; /* both judge alike */
  free(bytes);
  return status;
}

/* The file with one byte changed (raw: its checksum as it was), or cut. */
static int call_parse(scene* s, const char* what, int64_t value, gvm_error* error) {
  gvm_file file;
  const gvm_file* const parts = &s->m.file;
  /* The checksum ends it; the file is at most the first part's place and its parts, padded. */
  size_t size = (size_t)(parts->program - s->m.bytes), end;
  const uint64_t sizes[] = {parts->program_size, parts->parameters_size, parts->state_size,
                            parts->info_size};
  uint8_t* bytes;
  int i, status;
  for (i = 0; i < 4; ++i) size += (size_t)(sizes[i] + 63) / 64 * 64;
  end = size + GVM_ID_BYTES;
  bytes = (uint8_t*)allocate(end + 64, 1);
  memcpy(bytes, s->m.bytes, end);
  file.struct_size = sizeof file;
  if (strcmp(what, "size") == 0) {
    end = (size_t)((int64_t)end + value);
  } else {
    bytes[strtoull(strchr(what, ':') + 1, NULL, 10)] = (uint8_t)value;
    if (what[0] == 'b') gvm_blake3(bytes, size, bytes + size);
  }
  status = gvm_file_parse(bytes, end, &file, error);
  free(bytes);
  return status;
}

static int perform(scene* s, const char* call, const char* what, int64_t value, gvm_error* error) {
  const void* const* const inputs = (const void* const*)s->inputs.data;
  const void* const* const labels = (const void* const*)s->labels.data;
  gvm_session* const session = s->m.session;
  gvm_loss loss = {0, 0, 0};
  if (strcmp(call, "parameters") == 0) return call_write(s, GVM_PARAMETERS, what, value, error);
  if (strcmp(call, "state") == 0) return call_write(s, GVM_STATE, what, value, error);
  if (strcmp(call, "file") == 0) return call_parse(s, what, value, error);
  if (!change(s, what, value)) return -1001;
  if (strcmp(call, "predict") == 0)
    return gvm_session_predict(session, inputs, s->batch.local, s->outputs.data, error);
  if (strcmp(call, "loss") == 0)
    return gvm_session_loss(session, inputs, labels, s->batch.local, &loss, error);
  if (strcmp(call, "gradient") == 0) return call_gradient(s, error);
  if (strcmp(call, "apply") == 0)
    return gvm_session_apply(session, s->totals, s->batch.seed, s->batch.step, error);
  if (strcmp(call, "step") == 0)
    return gvm_session_step(session, &s->batch, inputs, labels, s->totals, s->m.info.totals, error);
  return -1002;
}

void run_refused_calls(conform* c) {
  static const char kFile[] = "programs/refused_calls.txt";
  vectors v;
  size_t line;
  int i;
  char** f;
  char received[64];
  suite_begin(c);
  if (!vectors_read(c->folder, kFile, &v)) {
    ++c->failures;
    return;
  }
  for (i = 0; i < c->level_count; ++i) {
    c->level = c->levels[i];
    for (line = 0; line < v.line_count; ++line) {
      int64_t value;
      scene s;
      if (line_fields(&v, line, &f) != 5 || parse_list(f[4], strlen(f[4]), &value, 1) != 1) {
        answer(c, kFile, line, "a line of an unknown kind", "");
        continue;
      }
      if (open_scene(c, f[1], &s)) {
        gvm_error error;
        snprintf(received, sizeof received, "%d", perform(&s, f[2], f[3], value, &error));
        if (strcmp(received, f[0]) != 0) fprintf(stderr, "%s\n", error.message);
      } else {
        snprintf(received, sizeof received, "no session");
      }
      close_scene(&s);
      answer(c, kFile, line, received, f[0]);
    }
  }
  suite_end(c, "programs", "refused_calls", v.line_count);
  vectors_free(&v);
}
