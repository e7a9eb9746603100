// In-place scaling of a gradient by factors that are on the device.
#pragma once

#include <cuda_runtime.h>

#include "cuda/inputs.h"

namespace dldl_fast::cuda {

struct ScaleInputs {
  void* grad;  // [N, K] contiguous, changed in place
  Storage storage;
  int64_t n_rows;
  int n_labels;
  RowValues grad_loss;  // one value, or one a row
  bool per_row;
  const double* scale;  // or null for 1
  RowValues weight;
};

// grad[i] *= grad_loss * scale * weight[i], multiplied in the accumulation type and rounded once.
// Rows of weight 0 become 0. Nothing is read or written where the factor is 1 for all rows.
void scale_rows(const ScaleInputs& in, cudaStream_t stream);

}  // namespace dldl_fast::cuda
