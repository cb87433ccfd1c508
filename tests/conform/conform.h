/* gvm-conform: what its files share. C99 and gvm.h, nothing else. */
#ifndef GVM_CONFORM_H
#define GVM_CONFORM_H

#include <gvm/gvm.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- SHA-256, of this program and not of the library under test */

enum { SHA256_BYTES = 32, SHA256_TEXT = 65 };

typedef struct sha256 {
  uint32_t state[8];
  uint8_t block[64];
  uint64_t size;
} sha256;

void sha256_begin(sha256* hash);
void sha256_add(sha256* hash, const void* bytes, size_t size);
void sha256_end(sha256* hash, uint8_t digest[SHA256_BYTES]);
void hex_of(const uint8_t* bytes, size_t size, char* text); /* 2 * size digits and a zero */

/* ---- Files of lines, fields separated by one space */

typedef struct vectors {
  char* bytes; /* the file; zeros stand in the place of line ends and spaces */
  char** fields;
  size_t field_count;
  size_t* lines; /* number of the first field of each line; line_count + 1 of them */
  size_t line_count;
} vectors;

/* Reads the lines that are no comments; 0 where the file cannot be read. */
int vectors_read(const char* folder, const char* name, vectors* out);
void vectors_free(vectors* v);
size_t line_fields(const vectors* v, size_t line, char*** fields);

uint8_t* read_file(const char* path,
                   size_t* size);          /* NULL: cannot be read; else the caller frees */
void* allocate(size_t count, size_t each); /* zeros; ends the program where there is none */
int parse_hex(const char* text, uint8_t* bytes, size_t* size); /* - is empty; 0: not hexadecimal */

/* A list such as 1,-2,3. Returns how many there are, at most `most` of which are written. */
size_t parse_list(const char* text, size_t length, int64_t* values, size_t most);

/* ---- Tensors */

typedef struct tensors {
  uint32_t count;
  void** data;
} tensors;

size_t dtype_bytes(uint8_t dtype);
uint64_t type_elements(const gvm_type* type, uint64_t batch); /* 0: more than 2^28 */
int64_t element_get(const void* data, uint8_t dtype, uint64_t index);
void element_set(void* data, uint8_t dtype, uint64_t index, int64_t value);
void type_range(const gvm_type* type, int64_t* least, int64_t* greatest);

/* What element_get says of each, little-endian, in as many bytes as the type has. */
void sha256_tensor(sha256* hash, const void* data, uint8_t dtype, uint64_t count);

void tensors_make(tensors* t, uint32_t count);
void tensors_free(tensors* t);

/* ---- A run of the suites */

typedef struct conform {
  const char* folder;
  int32_t level; /* of the present pass */
  int32_t levels[8];
  int level_count;
  uint32_t threads;
  uint64_t steps;   /* of a training run, at most */
  const char* only; /* a suite; NULL: all */
  int verbose;
  uint64_t cases, failures;
  sha256 suite; /* answers of the suite at hand, at its first level */
  sha256 all;
} conform;

/* One received answer and the published one; both without spaces at their ends. */
void answer(conform* c, const char* where, size_t line, const char* received,
            const char* published);
void suite_begin(conform* c);
void suite_end(conform* c, const char* kind, const char* name, uint64_t cases);
int wanted(const conform* c, const char* suite);

void run_operators(conform* c);
void run_arithmetic(conform* c);
void run_programs(conform* c);
void run_refusals(conform* c);
void run_refused_calls(conform* c);
void run_refused_values(conform* c);
void run_training(conform* c);
int run_drill(conform* c);

#endif
