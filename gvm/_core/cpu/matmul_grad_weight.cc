#include "cpu/form.h"
#include "cpu/linear.h"

namespace gvm {

namespace {

// a [T..., K], d [T..., N] to [K, N]: the terms are the examples and all other leading axes.
Status run(const Call& call) {
  const Tensor& a = call.in[0];
  const Tensor& d = call.in[1];
  const int last = a.type.rank - 1;
  Gemm job;
  job.m = a.dims[last];
  job.n = d.dims[last];
  job.k = 1;
  for (int i = 0; i < last; ++i) job.k *= a.dims[i];
  const StridedLines rows = {a.as<int16_t>(), 1, job.m};
  const StridedLines columns = {d.as<int16_t>(), 1, job.n};
  job.a = strided_lines(rows);
  job.b = strided_lines(columns);
  job.epilogue = epilogue_of(call);
  job.epilogue.rows.step = job.n;
  gemm(job, *call.cpu, *call.threads, *call.scratch);
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_matmul_grad_weight = {run,   true, false, false,
                                                 false, true, false, matmul_grad_weight_form};

}  // namespace gvm
