// Launchers of the label-distribution loss. They neither allocate nor synchronise, and may be
// captured in a CUDA graph. All pointers are to device memory.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "cuda/inputs.h"
#include "options.h"

namespace dldl_fast::cuda {

struct LossInputs {
  Logits logits;
  LabelGrid grid;
  RowValues target;
  RowValues sigma;  // or sigma_number where absent
  double sigma_number;
  RowValues weight;
  RowValues distribution;  // [N, K] contiguous
  LossOptions options;
  double grad_scale;  // factor of all gradients: the mean's 1 / N where that is known, else 1 or,
                      // in float16, less
};

// Null pointers where a result is not wanted; `loss` is always written.
struct LossOutputs {
  void* loss;     // [N] for Reduction::kNone, else one value, of the accumulation type
  void* grad;     // [N, K] contiguous, of the type of the logits, before weights
  double* scale;  // the factor that the gradient still lacks; null where it lacks none
  double* terms;  // [3, N]: divergence, regression, expectation
  // The first bad row as row << 8 | BadValue, or kNoBadRow.
  unsigned long long* bad_row;
  double* workspace;  // `loss_workspace_doubles` values, for the reductions
};

constexpr unsigned long long kNoBadRow = ~0ull;

size_t loss_workspace_doubles(const LossInputs& in);

// One kernel, and a second small one where the loss is reduced or there are no rows.
void label_distribution_loss(const LossInputs& in, const LossOutputs& out, cudaStream_t stream);

}  // namespace dldl_fast::cuda
