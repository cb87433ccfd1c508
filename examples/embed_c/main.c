/* Evaluates a .dmodel without Python: prints its ids and the exact loss.
 *
 *   embed_c model.dmodel inputs.raw labels.raw
 *
 * The raw files hold the integers of the first input and the first label, example-major, in the
 * byte order of the host: what numpy.ndarray.tofile writes. */
#include <gvm/gvm.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct buffer {
  uint8_t* bytes;
  size_t size;
} buffer;

/* Reads a whole file. The caller frees bytes. */
static int read_file(const char* path, buffer* out) {
  FILE* file = fopen(path, "rb");
  size_t capacity = 1 << 16, got;
  out->size = 0;
  out->bytes = NULL;
  if (!file) {
    fprintf(stderr, "%s: cannot be opened\n", path);
    return 0;
  }
  for (;;) {
    uint8_t* grown = (uint8_t*)realloc(out->bytes, capacity);
    if (!grown) break;
    out->bytes = grown;
    got = fread(out->bytes + out->size, 1, capacity - out->size, file);
    out->size += got;
    if (out->size < capacity) {
      int failed = ferror(file);
      fclose(file);
      if (failed) fprintf(stderr, "%s: cannot be read\n", path);
      return !failed;
    }
    capacity *= 2;
  }
  fclose(file);
  fprintf(stderr, "%s: out of memory\n", path);
  return 0;
}

static void print_id(const char* name, const uint8_t id[GVM_ID_BYTES]) {
  int i;
  printf("%s ", name);
  for (i = 0; i < GVM_ID_BYTES; ++i) printf("%02x", id[i]);
  printf("\n");
}

/* Bytes of one example of a tensor, or 0 when it has no batch axis in front. */
static uint64_t example_bytes(const gvm_type* type) {
  static const uint64_t widths[] = {0, 2, 4, 8, 1, 1};
  uint64_t bytes;
  int i;
  if (type->rank == 0 || type->dims[0] != -1 || type->dtype >= sizeof widths / sizeof *widths)
    return 0;
  bytes = widths[type->dtype];
  for (i = 1; i < type->rank; ++i) bytes *= (uint64_t)type->dims[i];
  return bytes;
}

static int tensor_bytes(const gvm_program* program, int section, uint64_t* bytes) {
  gvm_tensor_info tensor;
  tensor.struct_size = sizeof tensor;
  if (gvm_program_get_tensor(program, section, 0, &tensor) != GVM_OK) return 0;
  *bytes = example_bytes(&tensor.type);
  return *bytes != 0;
}

int main(int argc, char** argv) {
  buffer model = {NULL, 0}, x = {NULL, 0}, y = {NULL, 0};
  gvm_file file;
  gvm_program* program = NULL;
  gvm_session* session = NULL;
  gvm_program_info info;
  gvm_loss loss = {0, 0, 0};
  gvm_error error = {GVM_OK, ""};
  uint8_t parameters_id[GVM_ID_BYTES];
  uint64_t x_bytes = 0, y_bytes = 0, count, done;
  int status = 2;

  if (argc != 4) {
    fprintf(stderr, "usage: %s model.dmodel inputs.raw labels.raw\n", argv[0]);
    return 2;
  }
  if (!read_file(argv[1], &model) || !read_file(argv[2], &x) || !read_file(argv[3], &y)) goto end;

  file.struct_size = sizeof file;
  info.struct_size = sizeof info;
  if (gvm_file_parse(model.bytes, model.size, &file, &error) != GVM_OK ||
      gvm_program_new(file.program, file.program_size, NULL, &program, &error) != GVM_OK ||
      gvm_program_get_info(program, &info) != GVM_OK ||
      gvm_program_parameters_id(program, file.parameters, file.parameters_size, parameters_id,
                                &error) != GVM_OK ||
      gvm_session_new(program, NULL, &session, &error) != GVM_OK ||
      gvm_session_write(session, GVM_PARAMETERS, file.parameters, file.parameters_size, &error) !=
          GVM_OK) {
    fprintf(stderr, "%s: %s (%s)\n", argv[1], error.message, gvm_status_name(error.status));
    goto end;
  }
  if (info.loss_outputs == 0 || info.inputs != 1 || info.labels != 1 ||
      !tensor_bytes(program, GVM_INPUTS, &x_bytes) ||
      !tensor_bytes(program, GVM_LABELS, &y_bytes)) {
    fprintf(stderr, "%s: needs a loss, one input and one label, batch axis first\n", argv[1]);
    goto end;
  }
  count = x.size / x_bytes;
  if (count == 0 || x.size != count * x_bytes || y.size != count * y_bytes) {
    fprintf(stderr, "%s, %s: received %lu and %lu bytes, an example has %lu and %lu\n", argv[2],
            argv[3], (unsigned long)x.size, (unsigned long)y.size, (unsigned long)x_bytes,
            (unsigned long)y_bytes);
    goto end;
  }

  /* Batches are merged by addition: their size does not move a bit. */
  for (done = 0; done < count;) {
    uint64_t n = count - done < 256 ? count - done : 256;
    const void* inputs[1];
    const void* labels[1];
    if (n > info.max_batch) n = info.max_batch;
    inputs[0] = x.bytes + done * x_bytes;
    labels[0] = y.bytes + done * y_bytes;
    if (gvm_session_loss(session, inputs, labels, n, &loss, &error) != GVM_OK) {
      fprintf(stderr, "%s (%s)\n", error.message, gvm_status_name(error.status));
      goto end;
    }
    done += n;
  }
  print_id("graph_id", info.graph_id);
  print_id("parameters_id", parameters_id);
  printf("total %lld\ncount %lld\ncorrect %lld\n", (long long)loss.total, (long long)loss.count,
         (long long)loss.correct);
  status = 0;

end:
  gvm_session_free(session);
  gvm_program_free(program);
  free(model.bytes);
  free(x.bytes);
  free(y.bytes);
  return status;
}
