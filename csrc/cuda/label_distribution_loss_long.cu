// Rows too long for registers, a block each.
#include "cuda/label_distribution_loss_launch.cuh"
#include "cuda/label_distribution_loss_long_kernel.cuh"

namespace dldl_fast::cuda {

template <class A, bool kExtended>
void launch_long_rows(const LossInputs& in, const LossOutputs& out, cudaStream_t stream) {
  dispatch_storage<A>(in.logits.storage, [&](auto type) {
    launch("label_distribution_loss_long_rows",
           label_distribution_loss_long_rows<decltype(type), A, kExtended>, in.logits.n_rows,
           kBlockThreads, sizeof(LongRowMemory<A>), stream, in, out, Coefficients<A>(in));
  });
}

template void launch_long_rows<float, false>(const LossInputs&, const LossOutputs&, cudaStream_t);
template void launch_long_rows<float, true>(const LossInputs&, const LossOutputs&, cudaStream_t);
template void launch_long_rows<double, false>(const LossInputs&, const LossOutputs&, cudaStream_t);
template void launch_long_rows<double, true>(const LossInputs&, const LossOutputs&, cudaStream_t);

}  // namespace dldl_fast::cuda
