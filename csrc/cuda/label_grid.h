// What the kernels need to know of a label grid, measured once on the device.
#pragma once

#include <cuda_runtime.h>

#include "cuda/inputs.h"

namespace dldl_fast::cuda {

// Writes `constants` of the `n_labels` increasing labels. The result holds as long as the labels
// do not change, so that a caller who keeps both saves this launch.
void measure_label_grid(const double* labels, int n_labels, GridConstants* constants,
                        cudaStream_t stream);

}  // namespace dldl_fast::cuda
