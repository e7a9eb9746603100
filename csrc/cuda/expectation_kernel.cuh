// Expectation and standard deviation of softmax(logits) (Eq. 10), and their gradient:
// d mean / dx_k = p_k (l_k - mean), d std / dx_k = p_k ((l_k - mean)^2 - std^2) / (2 std).
// Rows are held as in label_distribution_loss_kernel.cuh.
#pragma once

#include "cuda/label_grid.cuh"
#include "cuda/row_tile.cuh"

namespace dldl_fast::cuda {

// Either the moments are wanted, or their gradient.
struct MomentsOutputs {
  double* mean;
  double* std;
  const double* grad_mean;
  const double* grad_std;
  void* grad;
};

template <class A>
struct Moments {
  A inverse_sum;  // 1 / sum e
  A mean;         // relative to the middle of the grid
  A variance;
};

// The factors of a row's gradient e_k (linear d + square (d^2 - variance)), d = l_k - mean.
template <class A>
struct MomentsGradient {
  A mean, variance, linear, square;

  __device__ MomentsGradient(const Moments<A>& m, const MomentsOutputs& out, int64_t row)
      : mean(m.mean), variance(m.variance) {
    const double std = sqrt(static_cast<double>(m.variance));
    linear = out.grad_mean == nullptr ? A(0) : static_cast<A>(out.grad_mean[row]) * m.inverse_sum;
    // The square root has no derivative at 0: a one-hot prediction gets the sub-gradient 0.
    const bool has_square = out.grad_std != nullptr && std != 0;
    square = has_square ? static_cast<A>(out.grad_std[row] / (2 * std)) * m.inverse_sum : A(0);
  }
  __device__ __forceinline__ A at(A exponential, A label) const {
    const A d = label - mean;
    return exponential * (linear * d + square * (d * d - variance));
  }
};

template <class A>
__device__ inline void write_moments(const LabelGrid& grid, A mean, A variance, int64_t row,
                                     const MomentsOutputs& out) {
  out.mean[row] = ends_of(grid).middle + static_cast<double>(mean);
  out.std[row] = sqrt(static_cast<double>(variance));
}

// One row, by the lanes of its group. `x` is its row of the tile, in which the gradient takes the
// place of the logits, or expectation and variance that of the first two.
template <class A, class Group>
__device__ __forceinline__ void compute_moments(const LabelGrid& grid, const MomentsOutputs& out,
                                                const A* labels, int64_t row, bool exists, A* x) {
  constexpr int kLanes = Group::kLanes;
  A e[Group::kSlots];
  A max = static_cast<A>(-kInfinity);
#pragma unroll
  for (int j = 0; j < Group::kSlots; ++j) e[j] = static_cast<A>(-kInfinity);
  Group::for_labels(grid.size, [&](int j, int k) {
    e[j] = x[k];
    max = larger(max, e[j]);
  });
  max = group_max<kLanes>(max);
  A sum = 0, sum_labels = 0, squares = 0;
  Group::for_labels(grid.size, [&](int j, int k) {
    e[j] = power_of_2((e[j] - max) * static_cast<A>(kLog2E));
    sum += e[j];
    sum_labels += e[j] * labels[k];
  });
  const A inverse_sum = reciprocal(group_sum<kLanes>(sum));
  const A mean = group_sum<kLanes>(sum_labels) * inverse_sum;
  Group::for_labels(grid.size, [&](int j, int k) {
    const A d = labels[k] - mean;
    squares += e[j] * d * d;
  });
  const Moments<A> moments{inverse_sum, mean, group_sum<kLanes>(squares) * inverse_sum};
  __syncwarp();
  if (!exists) return;
  if (out.grad == nullptr) {
    if (Group::lane() == 0) {
      x[0] = moments.mean;
      x[1] = moments.variance;
    }
    return;
  }
  const MomentsGradient<A> gradient(moments, out, row);
  Group::for_labels(grid.size, [&](int j, int k) { x[k] = gradient.at(e[j], labels[k]); });
}

template <class A, class Group>
__global__ void __launch_bounds__(kBlockThreads, (kMinBlocks<A, Group>))
    expectation_tiles(const Logits logits, const LabelGrid grid, const MomentsOutputs out,
                      const TileShape shape) {
  const int n_labels = grid.size;
  const TileMemory<A> memory(&block_memory<A>(), n_labels, shape);
  fill_labels(grid, memory.labels);
  const int64_t row0 = static_cast<int64_t>(blockIdx.x) * shape.rows;
  const TileRows rows = tile_rows<Group>(logits.n_rows, row0, shape.rows);
  const int begin = load_rows(logits, row0, rows, n_labels, shape, memory.tile);
  A* tile = memory.tile + begin;
  __syncthreads();
#pragma unroll 1
  for (int r = Group::index(); r < rows.padded; r += Group::kGroups) {
    compute_moments<A, Group>(grid, out, memory.labels, row0 + r, r < rows.count,
                              tile + r * shape.stride);
  }
  __syncthreads();
  if (out.grad != nullptr) {
    store_rows(memory.tile, begin, logits.storage, row0, rows.count, n_labels, shape, out.grad);
    return;
  }
  // Neighbouring rows by neighbouring threads, so that no sector is written twice.
  for (int r = static_cast<int>(threadIdx.x); r < rows.count; r += kBlockThreads) {
    const A* moments = tile + r * shape.stride;
    write_moments(grid, moments[0], moments[1], row0 + r, out);
  }
}

// Rows too long for registers: a block a row, which reads the logits again for each step.
template <class A>
struct LongMomentsMemory {
  Scratch<A> scratch;
};

template <class T, class A>
__global__ void __launch_bounds__(kBlockThreads, 2)
    expectation_long_rows(const Logits logits, const LabelGrid grid, const MomentsOutputs out) {
  Scratch<A>& scratch = block_memory<LongMomentsMemory<A>>().scratch;
  const int thread = static_cast<int>(threadIdx.x);
  const GridEnds ends = ends_of(grid);
  const int64_t row = blockIdx.x;
  const T* x = static_cast<const T*>(logits.data) + row * logits.row_stride;
  A max = static_cast<A>(-kInfinity);
  for (int k = thread; k < grid.size; k += kBlockThreads) {
    max = larger(max, to_accumulation(x[k]));
  }
  max = block_max(max, scratch);
  const auto exponential = [&](int k) {
    return power_of_2((to_accumulation(x[k]) - max) * static_cast<A>(kLog2E));
  };
  A sum = 0, sum_labels = 0, squares = 0;
  for (int k = thread; k < grid.size; k += kBlockThreads) {
    const A e = exponential(k);
    sum += e;
    sum_labels += e * centred_label<A>(grid, ends, k);
  }
  const A inverse_sum = reciprocal(block_sum(sum, scratch));
  const A mean = block_sum(sum_labels, scratch) * inverse_sum;
  for (int k = thread; k < grid.size; k += kBlockThreads) {
    const A d = centred_label<A>(grid, ends, k) - mean;
    squares += exponential(k) * d * d;
  }
  const Moments<A> moments{inverse_sum, mean, block_sum(squares, scratch) * inverse_sum};
  if (out.grad == nullptr) {
    if (thread == 0) write_moments(grid, moments.mean, moments.variance, row, out);
    return;
  }
  const MomentsGradient<A> gradient(moments, out, row);
  T* grad = static_cast<T*>(out.grad) + row * grid.size;
  for (int k = thread; k < grid.size; k += kBlockThreads) {
    to_storage(gradient.at(exponential(k), centred_label<A>(grid, ends, k)), grad[k]);
  }
}

}  // namespace dldl_fast::cuda
