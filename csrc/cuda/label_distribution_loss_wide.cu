// Rows of 129 labels and more, a warp each.
#include "cuda/label_distribution_loss_tiles.cuh"

namespace dldl_fast::cuda {

DLDL_FAST_LAUNCH_TILES(float, 32, 8, 4);
DLDL_FAST_LAUNCH_TILES(float, 32, 12, 8);
DLDL_FAST_LAUNCH_TILES(float, 32, 16, 12);
DLDL_FAST_LAUNCH_TILES(float, 32, 24, 16);
DLDL_FAST_LAUNCH_TILES(float, 32, 32, 24);
DLDL_FAST_LAUNCH_TILES(double, 32, 16, 4);

}  // namespace dldl_fast::cuda
