/* A .dmodel of the vectors with a session of it. */
#ifndef GVM_CONFORM_MODEL_H
#define GVM_CONFORM_MODEL_H

#include "conform.h"

typedef struct model {
  uint8_t* bytes; /* of the file */
  gvm_file file;
  gvm_program* program;
  gvm_program_info info;
  gvm_session* session; /* with the file's parameters and state; NULL where something failed */
} model;

/* Opens programs/<name>.dmodel for the level and the threads of the run; says why it cannot. */
int model_open(const conform* c, const char* name, model* m);
void model_close(model* m);

/* A session like m->session as it was opened. */
gvm_session* model_session(const conform* c, const model* m);

/* Of what the session holds now: the id of the parameters, BLAKE3 of the state (MAY be NULL). */
int model_ids(const model* m, uint8_t* parameters, uint8_t* state, gvm_error* error);
int session_ids(const model* m, const gvm_session* session, uint8_t* parameters, uint8_t* state,
                gvm_error* error);

#endif
