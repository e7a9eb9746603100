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

// The rows of a block, so that `bytes(rows)` fit into its shared memory: all of them where that
// leaves an SM of 100 KB room for three blocks, else one for each group, or as many whole warps of
// groups as fit into what every GPU gives a block without being asked.
template <class Group, class F>
int rows_that_fit(const F& bytes) {
  constexpr size_t kThird = 32 * 1024 + 512, kAll = 48 * 1024;
  if (bytes(Group::kMaxRows) <= kThird) return Group::kMaxRows;
  int rows = Group::kGroups;
  while (bytes(rows) > kAll) rows -= Group::kRowsPerWarp;
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
  cudaGetLastError();  // or torch would report it once more, of a kernel of its own
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
