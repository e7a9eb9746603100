// The definition of launch_tiles, for the files that instantiate it.
#pragma once

#include "cuda/label_distribution_loss_launch.cuh"

namespace dldl_fast::cuda {

template <class A, class Group, bool kExtended>
int64_t launch_tiles(const LossInputs& in, const LossOutputs& out, cudaStream_t stream) {
  const TileLaunch<A, Group> tiles(in);
  launch("label_distribution_loss_tiles", label_distribution_loss_tiles<A, Group, kExtended>,
         tiles.blocks, kBlockThreads, tiles.shared_bytes, stream, in, out, Coefficients<A>(in),
         needs_target_distribution(in, out), tiles.shape(in, out));
  return tiles.blocks;
}

#define DLDL_FAST_LAUNCH_TILES(kExtended, A, ...)                     \
  template int64_t launch_tiles<A, RowGroup<__VA_ARGS__>, kExtended>( \
      const LossInputs&, const LossOutputs&, cudaStream_t)

}  // namespace dldl_fast::cuda
