#include "cpu/form.h"
#include "cpu/linear.h"

namespace gvm {

namespace {

// Attributes transpose_a, transpose_b; shapes as in ops/matmul.cc.
Status run(const Call& call) {
  const Tensor& a = call.in[0];
  const Tensor& b = call.in[1];
  const bool turned_a = call.attr(0) == 1, turned_b = call.attr(1) == 1;
  const int a_rank = a.type.rank, b_rank = b.type.rank;
  int64_t m = a.dims[a_rank - (turned_a ? 1 : 2)];
  const int64_t k = a.dims[a_rank - (turned_a ? 2 : 1)];
  const int64_t n = b.dims[b_rank - (turned_b ? 2 : 1)];
  int64_t matrices = 1;
  for (int i = 0; i < a_rank - 2; ++i) matrices *= a.dims[i];
  const bool shared_b = b_rank == 2;
  if (shared_b && !turned_a) {
    m *= matrices;  // the rows of all matrices follow each other
    matrices = 1;
  }
  for (int64_t i = 0; i < matrices; ++i) {
    const int16_t* a_data = a.as<int16_t>() + i * m * k;
    const int16_t* b_data = b.as<int16_t>() + (shared_b ? 0 : i * k * n);
    const StridedLines rows = {a_data, turned_a ? 1 : k, turned_a ? m : 1};
    const StridedLines columns = {b_data, turned_b ? k : 1, turned_b ? 1 : n};
    Gemm job;
    job.m = m;
    job.n = n;
    job.k = k;
    job.a = strided_lines(rows);
    job.b = strided_lines(columns);
    job.epilogue = epilogue_of(call);
    job.epilogue.rows.first = i * m * n;
    job.epilogue.rows.step = n;
    job.kept = call.kept;
    job.first_kept = shared_b ? 0 : i * job.kept_pieces();
    gemm(job, *call.cpu, *call.threads, *call.scratch);
  }
  return Status::ok;
}

}  // namespace

extern const Kernel kernel_matmul = {run, true, false, false, false, false, false, matmul_form};

}  // namespace gvm
