/* gvm-conform: holds a libgvm to the published vectors, through gvm.h and without Python.
 *
 *   gvm-conform [--level N] [--threads N] [--steps N] [--only SUITE] [--drill] tests/vectors
 *
 * --drill: the first training run on every level, with 1, 2, 3, 7 and 48 workers, three sizes of
 * micro-batches and 1 and 2 threads must end in one state.
 *
 * Prints a line with a digest of the answers received for every operator, program and training run,
 * and one digest in all: two libraries that print the same line gave the same answers. Exit status
 * 0: all answers are the published ones; 1: some are not; 2: it cannot be tried. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "conform.h"

enum { MOST_SHOWN = 20, LONGEST_SHOWN = 200 };

void answer(conform* c, const char* where, size_t line, const char* received,
            const char* published) {
  ++c->cases;
  if (c->level == c->levels[0]) {
    sha256_add(&c->suite, received, strlen(received));
    sha256_add(&c->suite, "\n", 1);
  }
  if (strcmp(received, published) == 0) return;
  if (++c->failures <= MOST_SHOWN) {
    fprintf(stderr, "%s, case %lu, level %d: received %.*s, published %.*s\n", where,
            (unsigned long)line + 1, (int)c->level, LONGEST_SHOWN, received, LONGEST_SHOWN,
            published);
  }
}

void suite_begin(conform* c) {
  sha256_begin(&c->suite);
  c->level = c->levels[0];
}

void suite_end(conform* c, const char* kind, const char* name, uint64_t cases) {
  uint8_t digest[SHA256_BYTES];
  char text[SHA256_TEXT], line[256];
  sha256_end(&c->suite, digest);
  hex_of(digest, SHA256_BYTES, text);
  snprintf(line, sizeof line, "%s %s %" PRIu64 " %s\n", kind, name, cases, text);
  fputs(line, stdout);
  fflush(stdout);
  sha256_add(&c->all, line, strlen(line));
}

int wanted(const conform* c, const char* suite) {
  return c->only == NULL || strcmp(c->only, suite) == 0;
}

static int usage(const char* program) {
  fprintf(stderr,
          "usage: %s [--level N] [--threads N] [--steps N] [--only operators|arithmetic|programs|"
          "refusals|training] [--drill] tests/vectors\n",
          program);
  return 2;
}

int main(int argc, char** argv) {
  conform c;
  uint8_t digest[SHA256_BYTES];
  char text[SHA256_TEXT];
  int i, drill = 0;
  memset(&c, 0, sizeof c);
  c.steps = 300;
  for (i = 0; i <= gvm_cpu_level() && i < 8; ++i) c.levels[c.level_count++] = i;
  for (i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--drill") == 0) {
      drill = 1;
    } else if (argv[i][0] == '-') {
      if (i + 1 == argc) return usage(argv[0]);
      if (strcmp(argv[i], "--level") == 0) {
        c.levels[0] = atoi(argv[i + 1]);
        c.level_count = 1;
      } else if (strcmp(argv[i], "--threads") == 0) {
        c.threads = (uint32_t)strtoul(argv[i + 1], NULL, 10);
      } else if (strcmp(argv[i], "--steps") == 0) {
        c.steps = strtoull(argv[i + 1], NULL, 10);
      } else if (strcmp(argv[i], "--only") == 0) {
        c.only = argv[i + 1];
      } else {
        return usage(argv[0]);
      }
      ++i;
    } else if (c.folder) {
      return usage(argv[0]);
    } else {
      c.folder = argv[i];
    }
  }
  if (!c.folder) return usage(argv[0]);
  if (gvm_abi_version() != GVM_ABI_VERSION) {
    fprintf(stderr, "the library's ABI is version %d, this program's %d\n", gvm_abi_version(),
            GVM_ABI_VERSION);
    return 2;
  }
  if (drill) return run_drill(&c);
  if (c.threads == 0) c.threads = 1;
  printf("gvm %s, levels", gvm_version());
  for (i = 0; i < c.level_count; ++i) printf(" %d", (int)c.levels[i]);
  printf(", threads %u\n", (unsigned)c.threads);
  sha256_begin(&c.all);
  if (wanted(&c, "arithmetic")) run_arithmetic(&c);
  if (wanted(&c, "operators")) run_operators(&c);
  if (wanted(&c, "programs")) run_programs(&c);
  if (wanted(&c, "refusals")) run_refusals(&c);
  if (wanted(&c, "refusals")) run_refused_calls(&c);
  if (wanted(&c, "refusals")) run_refused_values(&c);
  if (wanted(&c, "training")) run_training(&c);
  if (c.cases == 0 && c.failures == 0) return usage(argv[0]);
  sha256_end(&c.all, digest);
  hex_of(digest, SHA256_BYTES, text);
  printf("answers %" PRIu64 ", wrong %" PRIu64 "\nall %s\n", c.cases, c.failures, text);
  return c.failures ? 1 : 0;
}
