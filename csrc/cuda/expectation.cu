#include "cuda/expectation.h"

#include "cuda/expectation_kernel.cuh"
#include "cuda/launch.h"

namespace dldl_fast::cuda {
namespace {

template <class A, class Group>
void launch_tiles(const Logits& logits, const LabelGrid& grid, const MomentsOutputs& out,
                  cudaStream_t stream) {
  const auto bytes = [&](int n) { return TileMemory<A>::bytes(grid.size, n, grid.size, false); };
  const int rows = rows_that_fit<Group>(bytes);
  launch("expectation_tiles", expectation_tiles<A, Group>, blocks_for(logits.n_rows, rows),
         kBlockThreads, bytes(rows), stream, logits, grid, out, TileShape{rows, grid.size, 0, 0});
}

template <class A>
void launch_long_rows(const Logits& logits, const LabelGrid& grid, const MomentsOutputs& out,
                      cudaStream_t stream) {
  dispatch_storage<A>(logits.storage, [&](auto type) {
    using T = decltype(type);
    launch("expectation_long_rows", expectation_long_rows<T, A>, logits.n_rows, kBlockThreads,
           sizeof(LongMomentsMemory<A>), stream, logits, grid, out);
  });
}

void launch_moments(const Logits& logits, const LabelGrid& grid, const MomentsOutputs& out,
                    cudaStream_t stream) {
  if (logits.n_rows == 0) return;
  if (logits.storage == Storage::kDouble) {
    if (grid.size <= 128) {
      launch_tiles<double, RowGroup<8, 16, 0>>(logits, grid, out, stream);
    } else if (grid.size <= 512) {
      launch_tiles<double, RowGroup<32, 16, 0>>(logits, grid, out, stream);
    } else {
      launch_long_rows<double>(logits, grid, out, stream);
    }
  } else {
    if (grid.size <= 64) {
      launch_tiles<float, RowGroup<8, 8, 0>>(logits, grid, out, stream);
    } else if (grid.size <= 128) {
      launch_tiles<float, RowGroup<8, 16, 8>>(logits, grid, out, stream);
    } else if (grid.size <= 512) {
      launch_tiles<float, RowGroup<32, 16, 4>>(logits, grid, out, stream);
    } else if (grid.size <= 1024) {
      launch_tiles<float, RowGroup<32, 32, 16>>(logits, grid, out, stream);
    } else {
      launch_long_rows<float>(logits, grid, out, stream);
    }
  }
}

}  // namespace

void expectation(const Logits& logits, const LabelGrid& grid, double* mean, double* std,
                 cudaStream_t stream) {
  launch_moments(logits, grid, {mean, std, nullptr, nullptr, nullptr}, stream);
}

void expectation_backward(const Logits& logits, const LabelGrid& grid, const double* grad_mean,
                          const double* grad_std, void* grad, cudaStream_t stream) {
  launch_moments(logits, grid, {nullptr, nullptr, grad_mean, grad_std, grad}, stream);
}

}  // namespace dldl_fast::cuda
