/* operators/<name>.txt: one node a line, judged and executed by itself. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "conform.h"

enum { MOST = 256 };

static const uint64_t kSeed = 0xFEDCBA9876543210u, kStep = ((uint64_t)1 << 40) + 3;
static const uint64_t kMaxBatch = (uint64_t)1 << 20;
enum { SITE = 77, PERIOD = 251 };

static const char* const kNames[] = {"", "i16", "i32", "i64", "u8", "bool"};

/* The part of a list separated by semicolons that begins at *at, which moves behind it. */
static size_t next_part(const char** at) {
  const char* end = strchr(*at, ';');
  const size_t length = end ? (size_t)(end - *at) : strlen(*at);
  *at = end ? end + 1 : NULL;
  return length;
}

typedef struct attributes {
  uint32_t count, offsets[MOST + 1];
  int64_t values[4096];
} attributes;

static int parse_attributes(const char* field, attributes* out) {
  const char* at = strcmp(field, "-") == 0 ? NULL : field;
  out->count = 0;
  out->offsets[0] = 0;
  while (at) {
    const char* const begin = at;
    const size_t length = next_part(&at), used = out->offsets[out->count];
    const size_t room = sizeof out->values / sizeof *out->values - used;
    const size_t n = parse_list(begin, length, out->values + used, room);
    if (n > room || out->count == MOST) return 0;
    out->offsets[++out->count] = (uint32_t)(used + n);
  }
  return 1;
}

/* A type such as i64.5[-1,3]p<12. */
static int parse_type(const char* text, size_t length, gvm_type* type) {
  const char *dot = memchr(text, '.', length), *open = memchr(text, '[', length);
  const char *close = memchr(text, ']', length), *bound = memchr(text, '<', length);
  size_t i, n;
  memset(type, 0, sizeof *type);
  if (!dot || !open || !close) return 0;
  for (i = 1; i < sizeof kNames / sizeof *kNames; ++i) {
    if (strlen(kNames[i]) == (size_t)(dot - text) &&
        memcmp(kNames[i], text, strlen(kNames[i])) == 0)
      type->dtype = (uint8_t)i;
  }
  type->fraction_bits = (int8_t)strtol(dot + 1, NULL, 10);
  n = parse_list(open + 1, (size_t)(close - open - 1), type->dims, GVM_MAX_RANK);
  if (n > GVM_MAX_RANK || !type->dtype) return 0;
  type->rank = (uint8_t)n;
  type->partial = (size_t)(close - text) + 1 < length && close[1] == 'p';
  type->bound = bound ? strtoull(bound + 1, NULL, 10) : 0;
  return 1;
}

static int parse_types(const char* field, gvm_type* types, uint32_t* count) {
  const char* at = strcmp(field, "-") == 0 ? NULL : field;
  *count = 0;
  while (at) {
    const char* const begin = at;
    const size_t length = next_part(&at);
    if (*count == MOST || !parse_type(begin, length, &types[(*count)++])) return 0;
  }
  return 1;
}

static void write_types(const gvm_type* types, uint32_t count, char* text, size_t size) {
  size_t used = 0;
  uint32_t i;
  int d;
  text[0] = 0;
  for (i = 0; i < count; ++i) {
    const gvm_type* t = &types[i];
    used += (size_t)snprintf(text + used, size - used, "%s%s.%d[", i ? ";" : "",
                             t->dtype < 6 ? kNames[t->dtype] : "?", t->fraction_bits);
    for (d = 0; d < t->rank; ++d)
      used += (size_t)snprintf(text + used, size - used, "%s%" PRId64, d ? "," : "", t->dims[d]);
    used += (size_t)snprintf(text + used, size - used, "]%s", t->partial ? "p" : "");
    if (t->dtype == GVM_I64 && t->bound)
      used += (size_t)snprintf(text + used, size - used, "<%" PRIu64, t->bound);
    if (used >= size / 2) return;
  }
  if (!count) strcpy(text, "-");
}

/* floor(a * b / 2^63). */
static uint64_t scaled(uint64_t a, uint64_t b) {
  const uint64_t mask = 0xFFFFFFFFu;
  const uint64_t low = (a & mask) * (b & mask), cross = (a >> 32) * (b & mask);
  const uint64_t other = (a & mask) * (b >> 32), high = (a >> 32) * (b >> 32);
  const uint64_t middle = (low >> 32) + (cross & mask) + (other & mask);
  const uint64_t top = high + (cross >> 32) + (other >> 32) + (middle >> 32);
  return top << 1 | (middle >> 31 & 1);
}

static void paint(void* data, const gvm_type* type, uint64_t elements, uint32_t position,
                  int64_t least, int64_t greatest) {
  const uint64_t span = (uint64_t)greatest - (uint64_t)least + 1;
  uint64_t i;
  for (i = 0; i < elements; ++i) {
    const uint64_t w = (i % PERIOD + 1) * (0x9E3779B97F4A7C15u + 2 * (uint64_t)position);
    element_set(data, type->dtype, i, (int64_t)((uint64_t)least + scaled(w >> 1, span)));
  }
}

/* The data of a line; 0 where it does not fit its types. */
static int fill(const char* field, const gvm_type* types, uint32_t count, uint64_t local,
                tensors* inputs) {
  const int painted = strncmp(field, "painted", 7) == 0;
  const char* at = field;
  uint32_t p;
  for (p = 0; p < count; ++p) {
    const uint64_t n = type_elements(&types[p], local);
    int64_t least, greatest;
    if (n == 0) return 0;
    inputs->data[p] = allocate((size_t)n, dtype_bytes(types[p].dtype));
    if (painted) {
      type_range(&types[p], &least, &greatest);
      if (field[7] == ':' && p == count - 1) {
        char* after;
        least = strtoll(field + 8, &after, 10);
        greatest = strtoll(after + 1, NULL, 10);
      }
      paint(inputs->data[p], &types[p], n, p, least, greatest);
    } else {
      const char* const begin = at;
      int64_t* values = (int64_t*)allocate((size_t)n, sizeof *values);
      size_t length, i;
      if (!at) return 0;
      length = next_part(&at);
      if (parse_list(begin, length, values, (size_t)n) != n) return 0;
      for (i = 0; i < n; ++i) element_set(inputs->data[p], types[p].dtype, i, values[i]);
      free(values);
    }
  }
  return 1;
}

static int infer(uint16_t opcode, const attributes* a, const gvm_type* inputs, uint32_t count,
                 gvm_type* outputs, uint32_t* output_count) {
  gvm_attributes given;
  uint32_t sites = 0;
  given.count = a->count;
  given.offsets = a->offsets;
  given.values = a->values;
  *output_count = MOST;
  return gvm_operator_infer(opcode, &given, inputs, count, kMaxBatch, -1, outputs, output_count,
                            &sites, NULL);
}

/* attributes inputs data local offset batch: types, clamps and digest of what comes out. */
static void value_line(conform* c, uint16_t opcode, char** f, char* text, size_t size) {
  static attributes a;
  static gvm_type types[MOST], made[MOST];
  gvm_attributes given;
  gvm_batch batch;
  gvm_options options;
  gvm_error error;
  tensors inputs, outputs;
  uint32_t count, made_count = 0, i;
  int64_t clamps = 0;
  sha256 hash;
  uint8_t digest[SHA256_BYTES];
  char types_text[4096], digest_text[SHA256_TEXT];
  int status;
  memset(&batch, 0, sizeof batch);
  batch.struct_size = sizeof batch;
  batch.local = strtoull(f[3], NULL, 10);
  batch.offset = strtoull(f[4], NULL, 10);
  batch.global = strtoull(f[5], NULL, 10);
  batch.seed = kSeed;
  batch.step = kStep;
  if (!parse_attributes(f[0], &a) || !parse_types(f[1], types, &count)) {
    snprintf(text, size, "unreadable");
    return;
  }
  status = infer(opcode, &a, types, count, made, &made_count);
  if (status != GVM_OK) {
    snprintf(text, size, "refused %d", status);
    return;
  }
  tensors_make(&inputs, count);
  tensors_make(&outputs, made_count);
  if (!fill(f[2], types, count, batch.local, &inputs)) {
    snprintf(text, size, "unreadable data");
  } else {
    for (i = 0; i < made_count; ++i) {
      const uint64_t n = type_elements(&made[i], batch.local);
      outputs.data[i] = allocate((size_t)n, dtype_bytes(made[i].dtype));
    }
    options.struct_size = sizeof options;
    options.threads = c->threads;
    options.cpu_level = c->level;
    given.count = a.count;
    given.offsets = a.offsets;
    given.values = a.values;
    status = gvm_operator_run(opcode, &given, types, (const void* const*)inputs.data, count, &batch,
                              SITE, &options, outputs.data, &clamps, &error);
    if (status != GVM_OK) {
      snprintf(text, size, "failed %d: %s", status, error.message);
    } else {
      sha256_begin(&hash);
      for (i = 0; i < made_count; ++i) {
        sha256_tensor(&hash, outputs.data[i], made[i].dtype, type_elements(&made[i], batch.local));
      }
      sha256_end(&hash, digest);
      hex_of(digest, SHA256_BYTES, digest_text);
      write_types(made, made_count, types_text, sizeof types_text);
      snprintf(text, size, "%s %" PRId64 " %s", types_text, clamps, digest_text);
    }
  }
  tensors_free(&inputs);
  tensors_free(&outputs);
}

static void refuse_line(uint16_t opcode, char** f, char* text, size_t size) {
  static attributes a;
  static gvm_type types[MOST], made[MOST];
  uint32_t count, made_count;
  if (!parse_attributes(f[0], &a) || !parse_types(f[1], types, &count)) {
    snprintf(text, size, "unreadable");
  } else {
    snprintf(text, size, "%d", infer(opcode, &a, types, count, made, &made_count));
  }
}

static void run_operator(conform* c, uint16_t opcode, const char* name) {
  char file[256], received[8192], published[8192];
  vectors v;
  size_t line, n;
  char** f;
  snprintf(file, sizeof file, "operators/%s.txt", name);
  if (!vectors_read(c->folder, file, &v)) {
    ++c->failures;
    return;
  }
  for (line = 0; line < v.line_count; ++line) {
    n = line_fields(&v, line, &f);
    if (n == 10 && strcmp(f[0], "value") == 0) {
      value_line(c, opcode, f + 1, received, sizeof received);
      snprintf(published, sizeof published, "%s %s %s", f[7], f[8], f[9]);
    } else if (n == 4 && strcmp(f[0], "refuse") == 0) {
      refuse_line(opcode, f + 1, received, sizeof received);
      snprintf(published, sizeof published, "%s", f[3]);
    } else {
      snprintf(received, sizeof received, "a line of an unknown kind");
      published[0] = 0;
    }
    answer(c, file, line, received, published);
  }
  if (c->level == c->levels[0]) suite_end(c, "operator", name, v.line_count);
  vectors_free(&v);
}

void run_operators(conform* c) {
  vectors v;
  size_t line;
  char** f;
  int i;
  if (!vectors_read(c->folder, "operators.txt", &v)) {
    ++c->failures;
    return;
  }
  for (line = 0; line < v.line_count; ++line) {
    if (line_fields(&v, line, &f) == 2) {
      const uint16_t opcode = (uint16_t)strtoul(f[0], NULL, 10);
      const char* name = gvm_operator_name(opcode);
      suite_begin(c);
      answer(c, "operators.txt", line, name ? name : "no such operator", f[1]);
      for (i = 0; i < c->level_count; ++i) {
        c->level = c->levels[i];
        run_operator(c, opcode, f[1]);
      }
    } else {
      answer(c, "operators.txt", line, "a line of an unknown kind", "");
    }
  }
  vectors_free(&v);
}

void run_refused_values(conform* c) {
  static const char kFile[] = "operators_refused.txt";
  char received[8192], published[64];
  vectors v;
  size_t line;
  char** f;
  int i, status;
  if (!vectors_read(c->folder, kFile, &v)) {
    ++c->failures;
    return;
  }
  suite_begin(c);
  for (i = 0; i < c->level_count; ++i) {
    c->level = c->levels[i];
    for (line = 0; line < v.line_count; ++line) {
      if (line_fields(&v, line, &f) != 8) {
        answer(c, kFile, line, "a line of an unknown kind", "");
        continue;
      }
      value_line(c, (uint16_t)strtoul(f[0], NULL, 10), f + 1, received, sizeof received);
      if (sscanf(received, "failed %d:", &status) == 1) {
        snprintf(received, sizeof received, "%d", status);
      } else if (strncmp(received, "refused", 7) != 0 && strncmp(received, "unread", 6) != 0) {
        snprintf(received, sizeof received, "0");
      }
      snprintf(published, sizeof published, "%s", f[7]);
      answer(c, kFile, line, received, published);
    }
  }
  suite_end(c, "operators", "refused", v.line_count);
  vectors_free(&v);
}
