// Launchers of hybrid pooling and its gradient. They neither allocate nor synchronise.
#pragma once

#include <cuda_runtime.h>

#include "pool_shape.h"
#include "rows.h"

namespace dldl_fast::cuda {

// pooled[n, c] = mean over the windows' maxima of x, [N, C] of the type of x. `choices`, of
// shape.choice_bytes() bytes, may be null.
void hybrid_pool2d(const void* x, Storage storage, const PoolShape& shape, void* pooled,
                   uint8_t* choices, cudaStream_t stream);

// grad_x = grad_pooled[n, c] / (h w) where a window chose, else 0, in the layout of the shape.
void hybrid_pool2d_backward(const void* grad_pooled, Storage storage, const PoolShape& shape,
                            const uint8_t* choices, void* grad_x, cudaStream_t stream);

}  // namespace dldl_fast::cuda
