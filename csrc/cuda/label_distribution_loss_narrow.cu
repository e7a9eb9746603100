// Rows of up to 128 labels, few lanes each.
#include "cuda/label_distribution_loss_tiles.cuh"

namespace dldl_fast::cuda {

DLDL_FAST_LAUNCH_TILES(false, float, 2, 8, 0);
DLDL_FAST_LAUNCH_TILES(false, float, 4, 8, 4);
DLDL_FAST_LAUNCH_TILES(false, float, 4, 16, 8);
DLDL_FAST_LAUNCH_TILES(false, float, 4, 26, 16);
DLDL_FAST_LAUNCH_TILES(false, float, 4, 32, 26);
DLDL_FAST_LAUNCH_TILES(false, double, 8, 4, 0);
DLDL_FAST_LAUNCH_TILES(false, double, 8, 16, 4);

}  // namespace dldl_fast::cuda
