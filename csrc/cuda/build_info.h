#pragma once

#include <string>

namespace dldl_fast {

// "CUDA 13.0 for 7.5, 8.0": the toolkit and the compute capabilities that this was compiled for.
// The runtime is linked statically, so asking it needs neither a GPU nor a driver.
std::string cuda_build_info();

}  // namespace dldl_fast
