// In place of csrc/cuda/build_info.cu, which asks the CUDA runtime.
#include "cuda/build_info.h"

namespace dldl_fast {

std::string cuda_build_info() { return "no CUDA: run thread by thread on the CPU"; }

}  // namespace dldl_fast
