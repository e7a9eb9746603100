// The loss of tiles of rows and its gradient, each row held in the registers of a group of lanes.
//
// Forward writes the gradient. Bytes of a row, training with reduction=mean, K logits of b bytes:
//                                 forward      backward      K = 101: float32  bfloat16
//   gradient in forward           2 K b        0             808       404
//   recomputed in backward        K b          2 K b         1212      606
//   gradient in forward, scaled   2 K b        2 K b         1616      808
// The last line is for weights or a loss scale, where recomputing would save a quarter of the
// bytes and compute every exponential twice; plain training decides. Forward alone is K b.
//
// A block's tile goes to shared memory in the accumulation type; one thread a row prepares the
// targets meanwhile; then each group takes its row from the tile and leaves the gradient in its
// place, and the tile is copied out.
#pragma once

#include "cuda/row_loss.cuh"
#include "cuda/row_tile.cuh"

namespace dldl_fast::cuda {

// Normalised before it is rounded to the accumulation type: counts may have any scale.
template <class A, class Group>
__device__ void tabulate_histogram(const LossInputs& in, const LossOutputs& out, int64_t row,
                                   RowTarget<A>& target, A* table) {
  constexpr int kLanes = Group::kLanes;
  const int n_labels = in.grid.size, lane = Group::lane();
  const int64_t begin = row * n_labels;
  const bool used = target.status == RowStatus::kUsed;
  double sum = 0;
  int wrong = 0;
#pragma unroll 1
  for (int k = lane; k < n_labels; k += kLanes) {
    const double value = used ? value_at(in.distribution, begin + k) : 1;
    wrong += value >= 0 && value < kInfinity ? 0 : 1;
    sum += value;
  }
  sum = group_sum<kLanes>(sum);
  wrong = group_sum<kLanes>(wrong);
  const double scale = 1 / sum;
#pragma unroll 1
  for (int k = lane; k < n_labels; k += kLanes) {
    table[k] = used ? static_cast<A>(value_at(in.distribution, begin + k) * scale) : A(0);
  }
  if (lane != 0 || (wrong == 0 && sum > 0 && sum < kInfinity)) return;
  target.status = RowStatus::kBad;
  target.weight = 1;
  note(out.bad_row, row, wrong > 0 ? BadValue::kDistribution : BadValue::kDistributionSum);
}

template <class A, class Group>
__device__ void tabulate_bins(const LossInputs& in, RowTarget<A>& target, A* table) {
  constexpr int kLanes = Group::kLanes;
  const LabelGrid& grid = in.grid;
  const int lane = Group::lane();
  const bool used = target.shape == Shape::kBins;
  double peak = 0;
  if (used) {
    const Bins bins(grid, target.y, target.sigma);
#pragma unroll 1
    for (int k = lane; k < grid.size; k += kLanes) {
      const double mass = k < target.first || k > target.last ? 0 : bins.mass(k);
      table[k] = static_cast<A>(mass);
      peak = fmax(peak, mass);
    }
  }
  __syncwarp();
  peak = group_max<kLanes>(peak);
  if (!used) return;
  if (peak <= kSmallestPeak) {
    if (lane == 0) set_point_mass(grid, target.y, target.nearest, false, target);
    return;
  }
#pragma unroll 1
  for (int k = lane; k < grid.size; k += kLanes) {
    table[k] = static_cast<A>(relative_mass(table[k], peak));
  }
}

// One row, by the lanes of its group. `x` is its row of the tile.
template <class A, class Group>
__device__ __forceinline__ void compute_row(const LossInputs& in, const LossOutputs& out,
                                            const Coefficients<A>& by, const RowTarget<A>& target,
                                            const A* labels, const A* table, int64_t row,
                                            bool exists, bool needs_target, A* x, Share<A>& share) {
  constexpr int kLanes = Group::kLanes;
  constexpr int kSlots = Group::kSlots;
  const int n_labels = in.grid.size;
  A z[kSlots], p[kSlots];
  A max = static_cast<A>(-kInfinity);
#pragma unroll
  for (int j = 0; j < kSlots; ++j) {
    z[j] = static_cast<A>(-kInfinity);
    p[j] = 0;
  }
  Group::for_labels(n_labels, [&](int j, int k) {
    z[j] = x[k];
    max = larger(max, z[j]);
  });
  max = group_max<kLanes>(max);
#pragma unroll
  for (int j = 0; j < kSlots; ++j) z[j] = (z[j] - max) * static_cast<A>(kLog2E);

  RowSums<A> sums;
  if (needs_target) {
    if (target.shape == Shape::kGaussian) {
      Group::for_labels(n_labels, [&](int j, int k) {
        const A log_p = gaussian_log2(target, labels[k]);
        if (log_p < static_cast<A>(kLog2Tail)) return;
        p[j] = power_of_2(log_p);
        add_mass(sums, p[j], p[j] * log_p, z[j]);
      });
    } else if (target.shape == Shape::kPoints) {
      Group::for_labels(n_labels, [&](int j, int k) {
        p[j] = point_mass(target, k);
        if (p[j] > 0) add_mass(sums, p[j], A(0), z[j]);
      });
    } else if (target.shape != Shape::kNone) {
      Group::for_labels(n_labels, [&](int j, int k) {
        p[j] = table[k];
        if (!(p[j] > 0)) return;
        add_mass(sums, p[j], p_log_p(p[j]), z[j]);
        sums.target_labels += p[j] * labels[k];
      });
    }
  }
#pragma unroll
  for (int j = 0; j < kSlots; ++j) z[j] = power_of_2(z[j]);
  Group::for_labels(n_labels, [&](int j, int k) {
    sums.exponentials += z[j];
    sums.labels += z[j] * labels[k];
  });
  for_sums(sums, in.target.data != nullptr, needs_target,
           [](A& sum) { sum = group_sum<kLanes>(sum); });

  RowStatus status = target.status;
  const RowLoss<A> result = finish_row(in, by, target, sums, needs_target, status);
  if (exists && Group::lane() == 0) {
    if (status != target.status) note(out.bad_row, row, BadValue::kUnderflow);
    write_row(in, out, row, result, target.weight, share);
  }
  if (out.grad == nullptr) return;
  if (status != RowStatus::kUsed) {
    Group::for_labels(n_labels, [&](int, int k) { x[k] = result.loss; });
    return;
  }
  Group::for_labels(n_labels, [&](int j, int k) { x[k] = result.gradient(z[j], labels[k], p[j]); });
}

template <class A, class Group>
struct LossMemory {
  RowTarget<A> targets[Group::kMaxRows];
  Share<A> shares[Group::kMaxRows];
};

template <class A, class Group>
__global__ void __launch_bounds__(kBlockThreads, (kMinBlocks<A, Group>))
    label_distribution_loss_tiles(const LossInputs in, const LossOutputs out,
                                  const Coefficients<A> by, int rows_per_tile) {
  auto& memory = block_memory<TileMemory<A, LossMemory<A, Group>>>();
  const int n_labels = in.grid.size, thread = static_cast<int>(threadIdx.x);
  A* labels = memory.labels();
  A* tables = memory.table(n_labels, rows_per_tile);
  const bool needs_target = needs_target_distribution(in, out);
  const bool has_table = in.distribution.data != nullptr || in.options.kind == Kind::kGaussianBin;
  fill_labels(in.grid, labels);
  const int64_t row0 = static_cast<int64_t>(blockIdx.x) * rows_per_tile;
  const TileRows rows = tile_rows<Group>(in.logits.n_rows, row0, rows_per_tile);
  Row row{0, 1, 0, RowStatus::kIgnored};
  if (thread < rows.count) row = read_row(in, row0 + thread);
  A* tile = load_rows(in.logits, row0, rows, n_labels, memory.tile(n_labels));
  if (thread < rows.padded) {
    if (thread < rows.count) row = check_row(in, row, row0 + thread, out.bad_row);
    set_target(in, row, needs_target, memory.front.targets[thread]);
  }
  __syncthreads();
#pragma unroll 1
  for (int r = Group::index(); r < rows.padded; r += Group::kGroups) {
    RowTarget<A>& target = memory.front.targets[r];
    A* table = tables + r * n_labels;
    if (has_table && needs_target) {
      if (in.distribution.data != nullptr) {
        tabulate_histogram<A, Group>(in, out, row0 + r, target, table);
      } else {
        tabulate_bins<A, Group>(in, target, table);
      }
      __syncwarp();
    }
    compute_row<A, Group>(in, out, by, target, labels, table, row0 + r, r < rows.count,
                          needs_target, tile + r * n_labels, memory.front.shares[r]);
  }
  __syncthreads();
  if (out.grad != nullptr) {
    store_rows(tile, in.logits.storage, row0, rows.count, n_labels, out.grad);
  }
  if (thread < kWarp) write_shares(in, out, memory.front.shares, rows.count);
}

}  // namespace dldl_fast::cuda
