#include "cuda/build_info.h"

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace dldl_fast {
namespace {

std::string version(int number, int per_major, int per_minor) {
  return std::to_string(number / per_major) + "." + std::to_string(number % per_major / per_minor);
}

}  // namespace

std::string cuda_build_info() {
  int runtime = 0;
  if (const cudaError_t error = cudaRuntimeGetVersion(&runtime); error != cudaSuccess) {
    throw std::runtime_error(std::string("cudaRuntimeGetVersion: ") + cudaGetErrorString(error));
  }
  std::string text = "CUDA " + version(runtime, 1000, 10);
  const char* separator = " for ";
  for (const int architecture : {__CUDA_ARCH_LIST__}) {  // set by nvcc, 750 for 7.5
    text += separator + version(architecture, 100, 10);
    separator = ", ";
  }
  return text;
}

}  // namespace dldl_fast
