#include "cuda/label_distribution_loss.h"

#include "cuda/label_distribution_loss_launch.cuh"

namespace dldl_fast::cuda {
namespace {

// Adds up the blocks' sums, in the same order in every run.
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
  const double divisor = in.options.reduction == Reduction::kMean ? weight : 1;
  loss = divisor == 0 ? 0 : loss / divisor;
  if (out.scale != nullptr) *out.scale = divisor == 0 ? 0 : 1 / (in.grad_scale * divisor);
  if (in.options.reduction != Reduction::kNone) *static_cast<A*>(out.loss) = static_cast<A>(loss);
}

template <class A>
constexpr int kMaxTileLabels = sizeof(A) == sizeof(double) ? 512 : 1024;

// Calls f with the group whose slots rows of n_labels <= kMaxTileLabels fill best. Few lanes with
// many slots, since what is done once a row costs a warp as much for one row as for 32 / lanes of
// them.
template <class F>
int64_t with_group(double, int n_labels, const F& f) {
  if (n_labels <= 32) return f(RowGroup<8, 4, 0>());
  if (n_labels <= 128) return f(RowGroup<8, 16, 4>());
  return f(RowGroup<32, 16, 4>());
}
template <class F>
int64_t with_group(float, int n_labels, const F& f) {
  if (n_labels <= 16) return f(RowGroup<2, 8, 0>());
  if (n_labels <= 32) return f(RowGroup<4, 8, 4>());
  if (n_labels <= 64) return f(RowGroup<4, 16, 8>());
  if (n_labels <= 104) return f(RowGroup<4, 26, 16>());
  if (n_labels <= 128) return f(RowGroup<4, 32, 26>());
  if (n_labels <= 208) return f(RowGroup<8, 26, 16>());
  if (n_labels <= 256) return f(RowGroup<8, 32, 26>());
  if (n_labels <= 416) return f(RowGroup<16, 26, 16>());
  if (n_labels <= 512) return f(RowGroup<16, 32, 26>());
  if (n_labels <= 832) return f(RowGroup<32, 26, 16>());
  return f(RowGroup<32, 32, 26>());
}

// The same for the policies of other methods, which need registers where others have slots.
template <class F>
int64_t with_extended_group(double, int n_labels, const F& f) {
  return with_group(0.0, n_labels, f);
}
template <class F>
int64_t with_extended_group(float, int n_labels, const F& f) {
  if (n_labels <= 32) return f(RowGroup<4, 8, 0>());
  if (n_labels <= 128) return f(RowGroup<8, 16, 4>());
  return f(RowGroup<32, 32, 4>());
}

template <class A>
int64_t count_blocks(const LossInputs& in) {
  if (in.grid.size > kMaxTileLabels<A>) return in.logits.n_rows;
  const auto blocks = [&](auto group) { return TileLaunch<A, decltype(group)>(in).blocks; };
  return is_extended(in.options) ? with_extended_group(A(), in.grid.size, blocks)
                                 : with_group(A(), in.grid.size, blocks);
}

template <class A>
void launch_rows(const LossInputs& in, const LossOutputs& out, cudaStream_t stream) {
  const bool extended = is_extended(in.options);
  if (in.grid.size > kMaxTileLabels<A>) {
    return extended ? launch_long_rows<A, true>(in, out, stream)
                    : launch_long_rows<A, false>(in, out, stream);
  }
  if (extended) {
    with_extended_group(A(), in.grid.size, [&](auto group) {
      return launch_tiles<A, decltype(group), true>(in, out, stream);
    });
  } else {
    with_group(A(), in.grid.size, [&](auto group) {
      return launch_tiles<A, decltype(group), false>(in, out, stream);
    });
  }
}

template <class A>
void launch_loss(const LossInputs& in, const LossOutputs& out, cudaStream_t stream) {
  const bool has_rows = in.logits.n_rows > 0;
  if (has_rows) launch_rows<A>(in, out, stream);
  if (has_rows && in.options.reduction == Reduction::kNone) return;
  launch("reduce_loss", reduce_loss<A>, 1, kBlockThreads, sizeof(Scratch<double>), stream, in, out,
         count_blocks<A>(in));
}

}  // namespace

size_t loss_workspace_doubles(const LossInputs& in) {
  const bool is_double = in.logits.storage == Storage::kDouble;
  return 2 * static_cast<size_t>(is_double ? count_blocks<double>(in) : count_blocks<float>(in));
}

void label_distribution_loss(const LossInputs& in, const LossOutputs& out, cudaStream_t stream) {
  if (out.bad_row != nullptr) {
    check(cudaMemsetAsync(out.bad_row, 0xff, sizeof(*out.bad_row), stream),
          "label_distribution_loss: bad_row");
  }
  if (in.logits.storage == Storage::kDouble) return launch_loss<double>(in, out, stream);
  launch_loss<float>(in, out, stream);
}

}  // namespace dldl_fast::cuda
