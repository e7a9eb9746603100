// A kernel launch whose error names the kernel.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "cuda/inputs.h"

namespace dldl_fast::cuda {

inline int64_t blocks_for(int64_t n_rows, int64_t rows_per_block) {
  return (n_rows + rows_per_block - 1) / rows_per_block;
}

// What every GPU gives a block without being asked.
constexpr size_t kSharedBytes = 48 * 1024;

// The largest tile of whole warps whose `bytes(rows)` fit into the shared memory.
template <class Group, class F>
int rows_that_fit(const F& bytes) {
  int rows = Group::kMaxRows;
  while (bytes(rows) > kSharedBytes) rows -= Group::kRowsPerWarp;
  return rows;
}

// Calls f with a value of the storage type, of those whose accumulation type is A.
template <class A, class F>
void dispatch_storage(Storage storage, const F& f) {
  if constexpr (sizeof(A) == sizeof(double)) {
    f(double());
  } else if (storage == Storage::kFloat) {
    f(float());
  } else if (storage == Storage::kBFloat16) {
    f(__nv_bfloat16());
  } else {
    f(__half());
  }
}

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

template <class... P>
void launch(const char* name, void (*kernel)(P...), int64_t blocks, int threads,
            size_t shared_bytes, cudaStream_t stream, std::common_type_t<P>... arguments) {
  void* pointers[] = {&arguments...};
  check(cudaLaunchKernel(kernel, dim3(static_cast<unsigned>(blocks)),
                         dim3(static_cast<unsigned>(threads)), pointers, shared_bytes, stream),
        name);
}

}  // namespace dldl_fast::cuda
