// Rows of up to 128 labels, 4 or 8 lanes each.
#include "cuda/label_distribution_loss_tiles.cuh"

namespace dldl_fast::cuda {

DLDL_FAST_LAUNCH_TILES(float, 4, 4, 0);
DLDL_FAST_LAUNCH_TILES(float, 4, 8, 4);
DLDL_FAST_LAUNCH_TILES(float, 8, 8, 4);
DLDL_FAST_LAUNCH_TILES(float, 8, 12, 8);
DLDL_FAST_LAUNCH_TILES(float, 8, 13, 12);
DLDL_FAST_LAUNCH_TILES(float, 8, 16, 13);
DLDL_FAST_LAUNCH_TILES(double, 8, 4, 0);
DLDL_FAST_LAUNCH_TILES(double, 8, 16, 4);

}  // namespace dldl_fast::cuda
