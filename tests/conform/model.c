#include "model.h"

#include <stdlib.h>
#include <string.h>

gvm_session* model_session(const conform* c, const model* m) {
  gvm_session* session = NULL;
  gvm_options options;
  gvm_error error;
  options.struct_size = sizeof options;
  options.threads = c->threads;
  options.cpu_level = c->level;
  if (gvm_session_new(m->program, &options, &session, &error) == GVM_OK &&
      gvm_session_write(session, GVM_PARAMETERS, m->file.parameters,
                        (size_t)m->file.parameters_size, &error) == GVM_OK) {
    /* A file without state: it begins with zeros. */
    if (m->file.state_size == 0 || gvm_session_write(session, GVM_STATE, m->file.state,
                                                     (size_t)m->file.state_size, &error) == GVM_OK)
      return session;
  }
  fprintf(stderr, "session: %s\n", error.message);
  gvm_session_free(session);
  return NULL;
}

int model_open(const conform* c, const char* name, model* m) {
  char path[1024];
  size_t size;
  gvm_error error;
  memset(m, 0, sizeof *m);
  if (snprintf(path, sizeof path, "%s/programs/%s.dmodel", c->folder, name) >= (int)sizeof path)
    return 0;
  m->bytes = read_file(path, &size);
  if (!m->bytes) return 0;
  m->file.struct_size = sizeof m->file;
  m->info.struct_size = sizeof m->info;
  if (gvm_file_parse(m->bytes, size, &m->file, &error) != GVM_OK ||
      gvm_program_new(m->file.program, (size_t)m->file.program_size, NULL, &m->program, &error) !=
          GVM_OK) {
    fprintf(stderr, "%s: %s\n", path, error.message);
    return 0;
  }
  gvm_program_get_info(m->program, &m->info);
  m->session = model_session(c, m);
  return m->session != NULL;
}

void model_close(model* m) {
  gvm_session_free(m->session);
  gvm_program_free(m->program);
  free(m->bytes);
  memset(m, 0, sizeof *m);
}

int session_ids(const model* m, const gvm_session* session, uint8_t* parameters, uint8_t* state,
                gvm_error* error) {
  const size_t parameter_size = (size_t)m->info.parameter_bytes;
  const size_t state_size = (size_t)m->info.state_bytes;
  uint8_t* const bytes = (uint8_t*)allocate(parameter_size + state_size, 1);
  int status = gvm_session_read(session, GVM_PARAMETERS, bytes, parameter_size, error);
  if (status == GVM_OK)
    status = gvm_program_parameters_id(m->program, bytes, parameter_size, parameters, error);
  if (status == GVM_OK && state) {
    status = gvm_session_read(session, GVM_STATE, bytes + parameter_size, state_size, error);
    gvm_blake3(bytes + parameter_size, state_size, state);
  }
  free(bytes);
  return status;
}

int model_ids(const model* m, uint8_t* parameters, uint8_t* state, gvm_error* error) {
  return session_ids(m, m->session, parameters, state, error);
}
