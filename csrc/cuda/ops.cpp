// The ops of the CUDA library. Its .cu files include no torch header: nvcc reads every header
// twice for each architecture, and torch's are most of what there is to read.
#include <torch/csrc/stable/library.h>

#include "cuda/build_info.h"

STABLE_TORCH_LIBRARY_FRAGMENT(dldl_fast, m) { m.def("cuda_build_info() -> str"); }

STABLE_TORCH_LIBRARY_IMPL(dldl_fast, CompositeExplicitAutograd, m) {
  m.impl("cuda_build_info", TORCH_BOX(&dldl_fast::cuda_build_info));
}
