// The kernels of one instruction set: included by kernels_<instruction set>.cpp, which defines
// DLDL_FAST_ISA and DLDL_FAST_LANES and includes every standard header before.
#include "cpu/expectation_kernel.h"
#include "cpu/hybrid_pool2d_kernel.h"
#include "cpu/label_distribution_loss_kernel.h"
#include "cpu/scale_rows_kernel.h"

namespace dldl_fast::DLDL_FAST_ISA {

#define DLDL_FAST_KERNELS(T, A, W)                                   \
  {scratch_bytes<A, W>,          loss_rows<T, A, W>,                 \
   expectation_rows<T, A, W>,    expectation_backward_rows<T, A, W>, \
   scale_values<T, A, W>,        pool_scratch_bytes<A>,              \
   hybrid_pool2d_range<T, A, W>, hybrid_pool2d_backward_range<T, A, W>}

// float64 is computed one value at a time, with the exact functions of the standard library.
extern const Kernels kTable[4] = {
    DLDL_FAST_KERNELS(float, float, DLDL_FAST_LANES),
    DLDL_FAST_KERNELS(double, double, 1),
    DLDL_FAST_KERNELS(BFloat16, float, DLDL_FAST_LANES),
    DLDL_FAST_KERNELS(Half, float, DLDL_FAST_LANES),
};

#undef DLDL_FAST_KERNELS

}  // namespace dldl_fast::DLDL_FAST_ISA
