// How rows are spread over blocks, and what launches them. The kernels of each width have a file of
// their own, so that several processes can compile them at once.
#pragma once

#include "cuda/label_distribution_loss.h"
#include "cuda/label_distribution_loss_kernel.cuh"
#include "cuda/launch.h"

namespace dldl_fast::cuda {

// How the rows are spread over blocks.
template <class A, class Group>
struct TileLaunch {
  using Memory = TileMemory<A, LossMemory<A, Group>>;

  explicit TileLaunch(const LossInputs& in) {
    const bool has_table = in.distribution.data != nullptr || in.options.kind == Kind::kGaussianBin;
    const auto bytes = [&](int n) { return Memory::bytes(in.grid.size, n, has_table); };
    rows = rows_that_fit<Group>(bytes);
    shared_bytes = bytes(rows);
    blocks = blocks_for(in.logits.n_rows, rows);
  }

  int rows;
  size_t shared_bytes;
  int64_t blocks;
};

// Returns the number of blocks. Instantiated in label_distribution_loss_narrow.cu and _wide.cu.
template <class A, class Group>
int64_t launch_tiles(const LossInputs& in, const LossOutputs& out, cudaStream_t stream);

// Instantiated in label_distribution_loss_long.cu.
template <class A>
void launch_long_rows(const LossInputs& in, const LossOutputs& out, cudaStream_t stream);

}  // namespace dldl_fast::cuda
