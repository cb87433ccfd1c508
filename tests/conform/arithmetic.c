/* Draws, hashes and tables of functions: what hosts take from the library beside programs. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "conform.h"

enum { TABLE = 65536 };

static void draws(conform* c) {
  vectors v;
  size_t line;
  char** f;
  char received[64], published[64];
  suite_begin(c);
  if (!vectors_read(c->folder, "random/draws.txt", &v)) {
    ++c->failures;
    return;
  }
  for (line = 0; line < v.line_count; ++line) {
    uint32_t word = 0;
    int status;
    if (line_fields(&v, line, &f) != 7) {
      answer(c, "random/draws.txt", line, "a line of an unknown kind", "");
      continue;
    }
    status = gvm_random_words(strtoull(f[0], NULL, 10), (uint32_t)strtoul(f[1], NULL, 10),
                              strtoull(f[2], NULL, 10), (uint32_t)strtoul(f[3], NULL, 10),
                              strtoull(f[4], NULL, 10), &word, 1);
    if (status == GVM_OK) {
      snprintf(received, sizeof received, "%" PRIu32, word);
    } else {
      snprintf(received, sizeof received, "failed %d", status);
    }
    snprintf(published, sizeof published, "%s", f[5]);
    answer(c, "random/draws.txt", line, received, published);
  }
  suite_end(c, "arithmetic", "draws", v.line_count);
  vectors_free(&v);
}

static void hashes(conform* c) {
  vectors v;
  size_t line, i;
  char** f;
  uint8_t id[GVM_ID_BYTES];
  char received[2 * GVM_ID_BYTES + 1], published[2 * GVM_ID_BYTES + 1];
  suite_begin(c);
  if (!vectors_read(c->folder, "blake3/painted.txt", &v)) {
    ++c->failures;
    return;
  }
  for (line = 0; line < v.line_count; ++line) {
    size_t size;
    uint8_t* bytes;
    if (line_fields(&v, line, &f) != 2) {
      answer(c, "blake3/painted.txt", line, "a line of an unknown kind", "");
      continue;
    }
    size = strtoul(f[0], NULL, 10);
    bytes = (uint8_t*)allocate(size, 1);
    for (i = 0; i < size; ++i) bytes[i] = (uint8_t)(i % 251);
    gvm_blake3(bytes, size, id);
    free(bytes);
    hex_of(id, sizeof id, received);
    snprintf(published, sizeof published, "%s", f[1]);
    answer(c, "blake3/painted.txt", line, received, published);
  }
  suite_end(c, "arithmetic", "blake3", v.line_count);
  vectors_free(&v);
}

static void tables(conform* c) {
  int32_t* const table = (int32_t*)allocate(TABLE, sizeof *table);
  uint8_t* const clamped = (uint8_t*)allocate(TABLE, 1);
  uint8_t* const bytes = (uint8_t*)allocate(TABLE, 5);
  vectors v;
  size_t line, i, k;
  char** f;
  uint8_t id[GVM_ID_BYTES];
  char received[2 * GVM_ID_BYTES + 1];
  suite_begin(c);
  if (vectors_read(c->folder, "tables/digests.txt", &v)) {
    for (line = 0; line < v.line_count; ++line) {
      int status;
      if (line_fields(&v, line, &f) != 5) {
        answer(c, "tables/digests.txt", line, "a line of an unknown kind", "");
        continue;
      }
      status = gvm_unary_table(atoi(f[0]), atoi(f[1]), atoi(f[2]), atoi(f[3]), table, clamped);
      if (status == GVM_OK) {
        for (i = 0; i < TABLE; ++i) {
          for (k = 0; k < 4; ++k) bytes[4 * i + k] = (uint8_t)((uint32_t)table[i] >> (8 * k));
        }
        memcpy(bytes + 4 * TABLE, clamped, TABLE);
        gvm_blake3(bytes, 5 * TABLE, id);
        hex_of(id, sizeof id, received);
      } else {
        snprintf(received, sizeof received, "failed %d", status);
      }
      answer(c, "tables/digests.txt", line, received, f[4]);
    }
    suite_end(c, "arithmetic", "tables", v.line_count);
    vectors_free(&v);
  } else {
    ++c->failures;
  }
  free(table);
  free(clamped);
  free(bytes);
}

void run_arithmetic(conform* c) {
  draws(c);
  hashes(c);
  tables(c);
}
