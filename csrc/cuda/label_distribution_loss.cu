#include "cuda/label_distribution_loss.h"

#include "cuda/label_distribution_loss_kernel.cuh"
#include "cuda/label_distribution_loss_long_kernel.cuh"
#include "cuda/launch.h"

namespace dldl_fast::cuda {
namespace {

// Adds the blocks' sums in their order, or rather that of the threads: the same in every run.
template <class A>
__global__ void __launch_bounds__(kBlockThreads)
    reduce_loss(const LossInputs in, const LossOutputs out, int64_t n_blocks) {
  auto& scratch = block_memory<Scratch<double>>();
  double loss = 0, weight = 0;
  for (int64_t i = threadIdx.x; i < n_blocks; i += kBlockThreads) {
    loss += out.workspace[2 * i];
    weight += out.workspace[2 * i + 1];
  }
  loss = block_sum(loss, scratch);
  weight = block_sum(weight, scratch);
  if (threadIdx.x > 0) return;
  double scale = 1;
  if (in.options.reduction == Reduction::kMean) {
    if (in.grad_scale == 1) scale = weight == 0 ? 0 : 1 / weight;
    loss = weight == 0 ? 0 : loss / weight;
  }
  *static_cast<A*>(out.loss) = static_cast<A>(loss);
  *out.scale = scale;
}

template <class A, class Group>
int64_t launch_tiles(const LossInputs& in, const LossOutputs& out, cudaStream_t stream) {
  const int n_labels = in.grid.size;
  const bool has_table = in.distribution.data != nullptr || in.options.kind == Kind::kGaussianBin;
  using Memory = TileMemory<A, LossMemory<A, Group>>;
  const int rows =
      rows_that_fit<Group>([&](int n) { return Memory::bytes(n_labels, n, has_table); });
  const int64_t blocks = blocks_for(in.logits.n_rows, rows);
  launch("label_distribution_loss_tiles", label_distribution_loss_tiles<A, Group>, blocks,
         kBlockThreads, Memory::bytes(n_labels, rows, has_table), stream, in, out, rows);
  return blocks;
}

template <class T, class A>
int64_t launch_long_rows(const LossInputs& in, const LossOutputs& out, cudaStream_t stream) {
  const int64_t blocks = blocks_for(in.logits.n_rows, 1);
  launch("label_distribution_loss_long_rows", label_distribution_loss_long_rows<T, A>, blocks,
         kBlockThreads, sizeof(LongRowMemory<A>), stream, in, out);
  return blocks;
}

// The group whose slots the row fills best; 0 blocks where the row fits none.
int64_t launch_double(const LossInputs& in, const LossOutputs& out, cudaStream_t stream) {
  const int n_labels = in.grid.size;
  if (n_labels <= 32) return launch_tiles<double, RowGroup<8, 4, 0>>(in, out, stream);
  if (n_labels <= 128) return launch_tiles<double, RowGroup<8, 16, 4>>(in, out, stream);
  if (n_labels <= 512) return launch_tiles<double, RowGroup<32, 16, 4>>(in, out, stream);
  return launch_long_rows<double, double>(in, out, stream);
}

int64_t launch_float(const LossInputs& in, const LossOutputs& out, cudaStream_t stream) {
  const int n_labels = in.grid.size;
  if (n_labels <= 16) return launch_tiles<float, RowGroup<4, 4, 0>>(in, out, stream);
  if (n_labels <= 32) return launch_tiles<float, RowGroup<4, 8, 4>>(in, out, stream);
  if (n_labels <= 64) return launch_tiles<float, RowGroup<8, 8, 4>>(in, out, stream);
  if (n_labels <= 104) return launch_tiles<float, RowGroup<8, 13, 8>>(in, out, stream);
  if (n_labels <= 128) return launch_tiles<float, RowGroup<8, 16, 13>>(in, out, stream);
  if (n_labels <= 256) return launch_tiles<float, RowGroup<32, 8, 4>>(in, out, stream);
  if (n_labels <= 416) return launch_tiles<float, RowGroup<32, 13, 8>>(in, out, stream);
  if (n_labels <= 512) return launch_tiles<float, RowGroup<32, 16, 13>>(in, out, stream);
  if (n_labels <= 1024) return launch_tiles<float, RowGroup<32, 32, 16>>(in, out, stream);
  switch (in.logits.storage) {
    case Storage::kBFloat16:
      return launch_long_rows<__nv_bfloat16, float>(in, out, stream);
    case Storage::kHalf:
      return launch_long_rows<__half, float>(in, out, stream);
    default:
      return launch_long_rows<float, float>(in, out, stream);
  }
}

}  // namespace

size_t loss_workspace_doubles(int64_t n_rows) {
  return 2 * static_cast<size_t>(blocks_for(n_rows, 1));
}

void label_distribution_loss(const LossInputs& in, const LossOutputs& out, cudaStream_t stream) {
  if (out.bad_row != nullptr) {
    check(cudaMemsetAsync(out.bad_row, 0xff, sizeof(*out.bad_row), stream),
          "label_distribution_loss: bad_row");
  }
  const bool is_double = in.logits.storage == Storage::kDouble;
  const int64_t blocks = is_double ? launch_double(in, out, stream) : launch_float(in, out, stream);
  if (in.options.reduction == Reduction::kNone) return;
  launch("reduce_loss", is_double ? reduce_loss<double> : reduce_loss<float>, 1, kBlockThreads,
         sizeof(Scratch<double>), stream, in, out, blocks);
}

}  // namespace dldl_fast::cuda
