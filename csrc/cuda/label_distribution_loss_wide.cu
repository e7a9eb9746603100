// Rows of 129 labels and more, up to a warp each.
#include "cuda/label_distribution_loss_tiles.cuh"

namespace dldl_fast::cuda {

DLDL_FAST_LAUNCH_TILES(false, float, 8, 26, 16);
DLDL_FAST_LAUNCH_TILES(false, float, 8, 32, 26);
DLDL_FAST_LAUNCH_TILES(false, float, 16, 26, 16);
DLDL_FAST_LAUNCH_TILES(false, float, 16, 32, 26);
DLDL_FAST_LAUNCH_TILES(false, float, 32, 26, 16);
DLDL_FAST_LAUNCH_TILES(false, float, 32, 32, 26);
DLDL_FAST_LAUNCH_TILES(false, double, 32, 16, 4);

}  // namespace dldl_fast::cuda
