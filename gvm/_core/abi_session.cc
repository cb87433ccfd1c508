// gvm.h: sessions and shards.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "abi.h"

using gvm::Error;
using gvm::guarded;
using gvm::require;
using gvm::Status;

namespace {

bool check_examples(const gvm::Program& p, uint64_t n, Error* error) {
  if (n >= 1 && n <= static_cast<uint64_t>(p.max_batch)) return true;
  return error->fail(Status::bad_input, "the batch must have 1 to %lld examples, received %llu",
                     static_cast<long long>(p.max_batch), static_cast<unsigned long long>(n));
}

}  // namespace

namespace gvm {

bool check_step(const Session& session, const gvm_batch& batch, const void* const* inputs,
                const void* const* labels, Error* error) {
  const Program& p = session.program();
  if (!p.functions[kGrad].present() || !p.functions[kApply].present()) {
    return error->fail(Status::bad_call, "the program has no grad and apply");
  }
  const int64_t n = static_cast<int64_t>(batch.local);
  return check_batch(batch, static_cast<uint64_t>(p.max_batch), error) &&
         require(batch.offset == 0 && batch.local == batch.global, "a step takes the whole batch",
                 error) &&
         check_given(p.inputs, "input", inputs, n, error) &&
         check_given(p.labels, "label", labels, n, error);
}

}  // namespace gvm

extern "C" {

int gvm_cpu_level(void) { return static_cast<int>(gvm::detect_cpu()); }

int gvm_device_count(const char** why) {
  const char* reason = "";
  const int count = gvm::count_devices(&reason);
  if (why != nullptr) *why = reason;
  return count;
}

int gvm_session_new(const gvm_program* program, const gvm_options* options, gvm_session** session,
                    gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(program != nullptr && session != nullptr, "program and session must be given", e))
      return;
    *session = nullptr;
    gvm::Target target;
    if (!gvm::read_options(options, &target, e)) return;
    std::unique_ptr<gvm::Device> device;
    if (target.device >= 0) {
      device = gvm::open_device(target.device, e);
      if (device == nullptr) return;
    }
    auto made = std::make_unique<gvm_session>();
    made->session = std::make_unique<gvm::Session>(program->program, target, std::move(device));
    *session = made.release();
  });
}

void gvm_session_free(gvm_session* session) { delete session; }

int gvm_session_write(gvm_session* session, int section, const uint8_t* bytes, size_t size,
                      gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(session != nullptr && (bytes != nullptr || size == 0),
                 "session and bytes must be given", e))
      return;
    if (!require(section == GVM_PARAMETERS || section == GVM_STATE,
                 "section must be parameters or state", e))
      return;
    session->session->write(section == GVM_STATE, bytes, size, e);
  });
}

int gvm_session_read(const gvm_session* session, int section, uint8_t* bytes, size_t size,
                     gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(session != nullptr && (bytes != nullptr || size == 0),
                 "session and bytes must be given", e))
      return;
    if (!require(section == GVM_PARAMETERS || section == GVM_STATE,
                 "section must be parameters or state", e))
      return;
    session->session->read(section == GVM_STATE, bytes, size, e);
  });
}

int gvm_session_predict(gvm_session* session, const void* const* inputs, uint64_t n,
                        void* const* outputs, gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(session != nullptr && inputs != nullptr && outputs != nullptr,
                 "session, inputs and outputs must be given", e))
      return;
    const gvm::Program& p = session->session->program();
    if (!check_examples(p, n, e) ||
        !gvm::check_given(p.inputs, "input", inputs, static_cast<int64_t>(n), e) ||
        !gvm::check_pointers("output", outputs, p.functions[gvm::kPredict].outputs.size(), e)) {
      return;
    }
    session->session->predict(inputs, static_cast<int64_t>(n), outputs, e);
  });
}

int gvm_session_loss(gvm_session* session, const void* const* inputs, const void* const* labels,
                     uint64_t n, gvm_loss* loss, gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(session != nullptr && inputs != nullptr && labels != nullptr && loss != nullptr,
                 "session, inputs, labels and loss must be given", e))
      return;
    const gvm::Program& p = session->session->program();
    if (!p.functions[gvm::kLoss].present()) {
      e->fail(Status::bad_call, "the program has no loss");
      return;
    }
    if (!check_examples(p, n, e)) return;
    const int64_t local = static_cast<int64_t>(n);
    if (!gvm::check_given(p.inputs, "input", inputs, local, e) ||
        !gvm::check_given(p.labels, "label", labels, local, e)) {
      return;
    }
    if (loss->count < 0 || loss->count > gvm::kMaxLossExamples - local) {
      e->fail(Status::bad_input, "a loss sums at most 2^22 examples");
      return;
    }
    int64_t sums[3] = {0, 0, 0};
    if (session->session->loss(inputs, labels, local, sums, e) != Status::ok) return;
    int64_t merged[3] = {loss->total, loss->count, loss->correct};
    for (int i = 0; i < 3; ++i) {
      if (!gvm::add_within(&merged[i], sums[i], gvm::kMaxBound)) {
        e->fail(Status::bad_input, "a loss must stay within 2^62");
        return;
      }
    }
    *loss = {merged[0], merged[1], merged[2]};
  });
}

int gvm_shard_new(gvm_session* session, const gvm_batch* batch, const void* const* inputs,
                  const void* const* labels, gvm_shard** shard, gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(session != nullptr && batch != nullptr && inputs != nullptr && labels != nullptr &&
                     shard != nullptr,
                 "session, batch, inputs, labels and shard must be given", e)) {
      return;
    }
    *shard = nullptr;
    const gvm::Program& p = session->session->program();
    if (!p.functions[gvm::kGrad].present()) {
      e->fail(Status::bad_call, "the program has no grad");
      return;
    }
    if (!gvm::check_batch(*batch, static_cast<uint64_t>(p.max_batch), e)) return;
    const int64_t local = static_cast<int64_t>(batch->local);
    if (!gvm::check_given(p.inputs, "input", inputs, local, e) ||
        !gvm::check_given(p.labels, "label", labels, local, e)) {
      return;
    }
    auto made = std::make_unique<gvm_shard>();
    gvm::Shard& s = made->shard;
    s.session = session->session.get();
    s.batch = {static_cast<int64_t>(batch->local), static_cast<int64_t>(batch->offset),
               static_cast<int64_t>(batch->global)};
    s.seed = batch->seed;
    s.step = batch->step;
    s.version = s.session->version();
    s.frame = s.session->take_frame(gvm::kGrad, s.batch.local);
    s.session->bind(gvm::kGrad, s.frame.get(), inputs, labels);
    *shard = made.release();
  });
}

void gvm_shard_free(gvm_shard* shard) {
  if (shard == nullptr) return;
  shard->shard.session->give_frame(gvm::kGrad, std::move(shard->shard.frame));
  delete shard;
}

int gvm_shard_run(gvm_shard* shard, uint32_t segment, const int64_t* totals, int64_t* sums,
                  gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(shard != nullptr && sums != nullptr && (totals != nullptr || segment == 0),
                 "shard, totals and sums must be given", e))
      return;
    gvm::Shard& s = shard->shard;
    if (!require(!s.failed, "a segment of this shard has failed: begin another", e) ||
        !require(segment == s.next_segment &&
                     segment < s.session->program().functions[gvm::kGrad].segments.size(),
                 "segments run once and in order", e) ||
        !require(s.version == s.session->version(),
                 "the parameters have changed since the shard began", e)) {
      return;
    }
    s.session->run_shard(&s, totals, sums, e);
  });
}

int gvm_session_apply(gvm_session* session, const int64_t* totals, uint64_t seed, uint64_t step,
                      gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(session != nullptr && totals != nullptr, "session and totals must be given", e))
      return;
    if (!session->session->program().functions[gvm::kApply].present()) {
      e->fail(Status::bad_call, "the program has no apply");
      return;
    }
    if (step >= gvm::kMaxStep) {
      e->fail(Status::bad_input, "step must be below 2^56");
      return;
    }
    session->session->apply(totals, seed, step, e);
  });
}

int gvm_session_step(gvm_session* session, const gvm_batch* batch, const void* const* inputs,
                     const void* const* labels, int64_t* totals, size_t count, gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(session != nullptr && batch != nullptr && inputs != nullptr && labels != nullptr &&
                     (totals != nullptr || count == 0),
                 "session, batch, inputs, labels and totals must be given", e)) {
      return;
    }
    const int64_t n = static_cast<int64_t>(batch->local);
    if (!gvm::check_step(*session->session, *batch, inputs, labels, e) ||
        !require(count <= session->session->program().total_elements,
                 "count must be at most the number of totals", e) ||
        session->session->step(inputs, labels, n, batch->seed, batch->step, count, e) !=
            Status::ok) {
      return;
    }
    session->session->read_totals(totals, count);
  });
}

int gvm_session_get_clamps(const gvm_session* session, int function, int64_t* counts, size_t nodes,
                           gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (!require(
            session != nullptr && counts != nullptr && function >= 0 && function < gvm::kFunctions,
            "session, function and counts must be given", e))
      return;
    const std::vector<int64_t>& have =
        session->session->clamps(static_cast<gvm::FunctionKind>(function));
    if (!require(have.size() == nodes, "nodes must be the number of nodes of the function", e))
      return;
    std::copy(have.begin(), have.end(), counts);
  });
}

int gvm_session_set_profile(gvm_session* session, int on, gvm_error* error) {
  return guarded(error, [&](Error* e) {
    if (require(session != nullptr, "session must be given", e)) {
      session->session->set_profile(on != 0);
    }
  });
}

int64_t gvm_session_get_profile(const gvm_session* session, gvm_step_time* steps, size_t count) {
  if (session == nullptr || (steps == nullptr && count != 0)) return GVM_BAD_CALL;
  const std::vector<gvm::StepTime>& times = session->session->times();
  for (size_t i = 0; i < std::min(count, times.size()); ++i) {
    const gvm::StepTime& t = times[i];
    steps[i] = {static_cast<int32_t>(t.function),
                {t.nodes[0], t.nodes[1], t.nodes[2], t.nodes[3]},
                t.begin,
                t.end,
                {t.routes.narrow, t.routes.wide, t.routes.split, t.routes.few_rows}};
  }
  return static_cast<int64_t>(times.size());
}

int64_t gvm_session_plan(gvm_session* session, int function, uint64_t batch, char* text,
                         size_t size) {
  if (session == nullptr || function < 0 || function >= gvm::kFunctions || batch < 1)
    return GVM_BAD_CALL;
  if (!session->session->program().functions[function].present()) return GVM_BAD_CALL;
  if (batch > static_cast<uint64_t>(session->session->program().max_batch)) return GVM_BAD_CALL;
  int64_t length = GVM_INTERNAL;
  const int status = guarded(nullptr, [&](Error*) {
    const std::string plan = session->session->describe_plan(
        static_cast<gvm::FunctionKind>(function), static_cast<int64_t>(batch));
    if (text != nullptr && size > 0) std::snprintf(text, size, "%s", plan.c_str());
    length = static_cast<int64_t>(plan.size());
  });
  return status == GVM_OK ? length : status;
}

}  // extern "C"
