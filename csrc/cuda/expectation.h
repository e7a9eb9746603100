// Launchers of the expectation and its gradient. They neither allocate nor synchronise.
#pragma once

#include <cuda_runtime.h>

#include "cuda/inputs.h"

namespace dldl_fast::cuda {

// Expectation and standard deviation of softmax(logits), [N] each.
void expectation(const Logits& logits, const LabelGrid& grid, double* mean, double* std,
                 cudaStream_t stream);

// grad[i] = grad_mean[i] d mean_i / d logits + grad_std[i] d std_i / d logits, [N, K] contiguous,
// of the type of the logits. Either gradient may be null.
void expectation_backward(const Logits& logits, const LabelGrid& grid, const double* grad_mean,
                          const double* grad_std, void* grad, cudaStream_t stream);

}  // namespace dldl_fast::cuda
