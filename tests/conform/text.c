/* Lines, numbers, SHA-256 and elements of tensors. */
#include <stdlib.h>
#include <string.h>

#include "conform.h"

/* ---- SHA-256 (FIPS 180-4) */

static const uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t turned(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha256_block(uint32_t state[8], const uint8_t* p) {
  uint32_t w[64], v[8];
  int i;
  for (i = 0; i < 16; ++i) {
    w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 |
           p[4 * i + 3];
  }
  for (i = 16; i < 64; ++i) {
    const uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + w[i - 7] +
           (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
  }
  memcpy(v, state, sizeof v);
  for (i = 0; i < 64; ++i) {
    const uint32_t e = v[4], a = v[0];
    const uint32_t x = v[7] + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) +
                       ((e & v[5]) ^ (~e & v[6])) + kRounds[i] + w[i];
    const uint32_t y =
        (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
    memmove(v + 1, v, 7 * sizeof *v);
    v[4] += x;
    v[0] = x + y;
  }
  for (i = 0; i < 8; ++i) state[i] += v[i];
}

void sha256_begin(sha256* hash) {
  static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memcpy(hash->state, start, sizeof start);
  hash->size = 0;
}

void sha256_add(sha256* hash, const void* bytes, size_t size) {
  const uint8_t* p = (const uint8_t*)bytes;
  while (size > 0) {
    const size_t at = (size_t)(hash->size % 64), room = 64 - at, n = size < room ? size : room;
    memcpy(hash->block + at, p, n);
    hash->size += n;
    p += n;
    size -= n;
    if (at + n == 64) sha256_block(hash->state, hash->block);
  }
}

void sha256_end(sha256* hash, uint8_t digest[SHA256_BYTES]) {
  const uint64_t bits = hash->size * 8;
  uint8_t tail[8];
  int i;
  sha256_add(hash, "\x80", 1);
  while (hash->size % 64 != 56) sha256_add(hash, "", 1);
  for (i = 0; i < 8; ++i) tail[i] = (uint8_t)(bits >> (56 - 8 * i));
  sha256_add(hash, tail, 8);
  for (i = 0; i < SHA256_BYTES; ++i) digest[i] = (uint8_t)(hash->state[i / 4] >> (24 - i % 4 * 8));
}

void hex_of(const uint8_t* bytes, size_t size, char* text) {
  size_t i;
  for (i = 0; i < size; ++i) sprintf(text + 2 * i, "%02x", bytes[i]);
  text[2 * size] = 0;
}

/* ---- Memory and files */

void* allocate(size_t count, size_t each) {
  void* made = calloc(count ? count : 1, each ? each : 1);
  if (!made) {
    fprintf(stderr, "gvm-conform: out of memory\n");
    exit(3);
  }
  return made;
}

uint8_t* read_file(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  uint8_t* bytes = NULL;
  size_t capacity = 1 << 16, got;
  *size = 0;
  while (file) {
    uint8_t* grown = (uint8_t*)realloc(bytes, capacity);
    if (!grown) break;
    bytes = grown;
    got = fread(bytes + *size, 1, capacity - *size, file);
    *size += got;
    if (*size < capacity) {
      if (ferror(file)) break;
      fclose(file);
      return bytes;
    }
    capacity *= 2;
  }
  if (file) fclose(file);
  free(bytes);
  fprintf(stderr, "%s: cannot be read\n", path);
  return NULL;
}

int vectors_read(const char* folder, const char* name, vectors* out) {
  char path[1024];
  size_t size, i, fields = 0, lines = 0, at;
  memset(out, 0, sizeof *out);
  if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return 0;
  out->bytes = (char*)read_file(path, &size);
  if (!out->bytes) return 0;
  if (size == 0 || out->bytes[size - 1] != '\n') {
    fprintf(stderr, "%s: the last line has no end\n", path);
    vectors_free(out);
    return 0;
  }
  for (i = 0; i < size; ++i) {
    fields += out->bytes[i] == ' ' || out->bytes[i] == '\n';
    lines += out->bytes[i] == '\n';
  }
  out->fields = (char**)allocate(fields, sizeof *out->fields);
  out->lines = (size_t*)allocate(lines + 1, sizeof *out->lines);
  for (at = 0; at < size;) {
    const int comment = out->bytes[at] == '#';
    if (!comment) out->lines[out->line_count++] = out->field_count;
    for (;;) {
      if (!comment) out->fields[out->field_count++] = out->bytes + at;
      while (out->bytes[at] != ' ' && out->bytes[at] != '\n') ++at;
      i = at++;
      if (out->bytes[i] == '\n') break;
      out->bytes[i] = 0;
    }
    out->bytes[i] = 0;
  }
  out->lines[out->line_count] = out->field_count;
  return 1;
}

void vectors_free(vectors* v) {
  free(v->bytes);
  free(v->fields);
  free(v->lines);
  memset(v, 0, sizeof *v);
}

size_t line_fields(const vectors* v, size_t line, char*** fields) {
  *fields = v->fields + v->lines[line];
  return v->lines[line + 1] - v->lines[line];
}

int parse_hex(const char* text, uint8_t* bytes, size_t* size) {
  size_t i, n = strlen(text);
  if (strcmp(text, "-") == 0) n = 0;
  if (n % 2) return 0;
  for (i = 0; i < n; ++i) {
    const char c = text[i];
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return 0;
    bytes[i / 2] = (uint8_t)(i % 2 ? bytes[i / 2] | digit : digit << 4);
  }
  *size = n / 2;
  return 1;
}

size_t parse_list(const char* text, size_t length, int64_t* values, size_t most) {
  const char *at = text, *const end = text + length;
  size_t n = 0;
  while (at < end) {
    char* after;
    const int64_t value = strtoll(at, &after, 10);
    if (after == at) return n;
    if (n < most) values[n] = value;
    ++n;
    at = after + 1; /* behind the comma */
  }
  return n;
}

/* ---- Elements */

size_t dtype_bytes(uint8_t dtype) {
  static const size_t widths[] = {0, 2, 4, 8, 1, 1};
  return dtype < sizeof widths / sizeof *widths ? widths[dtype] : 0;
}

uint64_t type_elements(const gvm_type* type, uint64_t batch) {
  uint64_t n = 1;
  int i;
  for (i = 0; i < type->rank; ++i) {
    const uint64_t d = type->dims[i] == -1 ? batch : (uint64_t)type->dims[i];
    if (d > (uint64_t)1 << 28) return 0;
    n *= d;
    if (n > (uint64_t)1 << 28) return 0;
  }
  return n;
}

int64_t element_get(const void* data, uint8_t dtype, uint64_t i) {
  switch (dtype) {
    case GVM_I16:
      return ((const int16_t*)data)[i];
    case GVM_I32:
      return ((const int32_t*)data)[i];
    case GVM_I64:
      return ((const int64_t*)data)[i];
    default:
      return ((const uint8_t*)data)[i];
  }
}

void element_set(void* data, uint8_t dtype, uint64_t i, int64_t value) {
  switch (dtype) {
    case GVM_I16:
      ((int16_t*)data)[i] = (int16_t)value;
      break;
    case GVM_I32:
      ((int32_t*)data)[i] = (int32_t)value;
      break;
    case GVM_I64:
      ((int64_t*)data)[i] = value;
      break;
    default:
      ((uint8_t*)data)[i] = (uint8_t)value;
  }
}

void type_range(const gvm_type* type, int64_t* least, int64_t* greatest) {
  const int64_t widest = (int64_t)1 << 62;
  switch (type->dtype) {
    case GVM_I16:
      *least = INT16_MIN, *greatest = INT16_MAX;
      break;
    case GVM_I32:
      *least = INT32_MIN, *greatest = INT32_MAX;
      break;
    case GVM_I64:
      *greatest = type->bound ? (int64_t)type->bound : widest, *least = -*greatest;
      break;
    default:
      *least = 0, *greatest = type->dtype == GVM_BOOL ? 1 : 255;
  }
}

void sha256_tensor(sha256* hash, const void* data, uint8_t dtype, uint64_t count) {
  const size_t each = dtype_bytes(dtype);
  uint8_t bytes[8];
  uint64_t i;
  size_t k;
  for (i = 0; i < count; ++i) {
    const uint64_t v = (uint64_t)element_get(data, dtype, i);
    for (k = 0; k < each; ++k) bytes[k] = (uint8_t)(v >> (8 * k));
    sha256_add(hash, bytes, each);
  }
}

void tensors_make(tensors* t, uint32_t count) {
  t->count = count;
  t->data = (void**)allocate(count, sizeof *t->data);
}

void tensors_free(tensors* t) {
  uint32_t i;
  for (i = 0; i < t->count; ++i) free(t->data[i]);
  free(t->data);
  t->count = 0;
  t->data = NULL;
}
