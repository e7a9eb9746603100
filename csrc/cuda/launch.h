// A kernel launch whose error names the kernel.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace dldl_fast::cuda {

// Blocks that find more rows than they are go on with the rows behind: enough of them to fill any
// GPU, few enough for one block to add up their sums, and never a matter of the GPU.
constexpr int64_t kMaxBlocks = 4096;

inline int64_t blocks_for(int64_t n_rows, int64_t rows_per_block) {
  const int64_t blocks = (n_rows + rows_per_block - 1) / rows_per_block;
  return std::clamp<int64_t>(blocks, 1, kMaxBlocks);
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
