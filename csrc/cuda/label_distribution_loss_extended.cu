// Rows of up to 1024 labels with the policies of other methods, in few widths.
#include "cuda/label_distribution_loss_tiles.cuh"

namespace dldl_fast::cuda {

DLDL_FAST_LAUNCH_TILES(true, float, 4, 8, 0);
DLDL_FAST_LAUNCH_TILES(true, float, 8, 16, 4);
DLDL_FAST_LAUNCH_TILES(true, float, 32, 32, 4);
DLDL_FAST_LAUNCH_TILES(true, double, 8, 4, 0);
DLDL_FAST_LAUNCH_TILES(true, double, 8, 16, 4);
DLDL_FAST_LAUNCH_TILES(true, double, 32, 16, 4);

}  // namespace dldl_fast::cuda
