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
//
// In half precision, instructions take as long as bytes. At K = 101, sigma = 2 and bfloat16 a warp
// issues 136 a row (PTX), where an H100 could issue 112 in the time of the bytes.
#pragma once

#include "cuda/row_loss.cuh"
#include "cuda/row_masses.cuh"
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
  __syncwarp();  // the others have read the status
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
template <class A, class Group, bool kEquallySpaced, bool kExtended>
__device__ __forceinline__ void compute_row(const LossInputs& in, const LossOutputs& out,
                                            const Coefficients<A>& by, const RowTarget<A>& target,
                                            const A* labels, const A* table, int64_t row,
                                            bool exists, bool needs_target, A* x, Share<A>& share) {
  constexpr int kLanes = Group::kLanes, kSlots = Group::kSlots;
  const int n_labels = in.grid.size;
  const SlotLabels<A, Group, kEquallySpaced> slots(in.grid, labels);
  A e[kSlots];
  A max = static_cast<A>(-kInfinity);
#pragma unroll
  for (int j = 0; j < kSlots; ++j) e[j] = static_cast<A>(-kInfinity);
  Group::for_labels(n_labels, [&](int j, int k) {
    e[j] = x[k];
    max = larger(max, e[j]);
  });
  max = group_max<kLanes>(max);
  RowSums<A> sums;
  A positions = 0;
  // Without checks where it may: slots beyond the row hold exp(-inf) = 0.
  const int n_read = kEquallySpaced ? kSlots * kLanes : n_labels;
  Group::for_labels(n_read, [&](int j, int k) {
    e[j] = exponential_of(e[j] - max);
    sums.exponentials += e[j];
    positions += e[j] * slots.position(j, k);
  });
  sums.labels = slots.origin * sums.exponentials + slots.step * positions;
  const bool has_products = is_likelihood<kExtended>(in.options);
  RowMasses<A, Group, kEquallySpaced, kExtended> masses(target, labels, table);
  if (needs_target) {
    masses.evaluate([&](int k, A p, A log_p_p) {
      const A d = x[k] - max;
      add_mass(sums, p, log_p_p, has_products ? exponential_of(d) : d);
      if (target.shape == Shape::kHistogram) sums.target_labels += p * labels[k];
    });
  }
  for_sums(sums, in.target.data != nullptr, needs_target,
           [](A& sum) { sum = group_sum<kLanes>(sum); });
  const bool has_variance = kExtended && by.variance_weight != 0;
  if (has_variance) {
    const A origin = slots.origin - sums.labels * reciprocal(sums.exponentials);
    Group::for_labels(n_read, [&](int j, int k) {
      const A off = origin + slots.step * slots.position(j, k);
      sums.squares += e[j] * off * off;
    });
    sums.squares = group_sum<kLanes>(sums.squares);
  }

  RowStatus status = target.status;
  const RowLoss<A> result = finish_row<kExtended>(in, by, target, sums, needs_target, status);
  if (exists && Group::lane() == 0) {
    if (status != target.status) note(out.bad_row, row, BadValue::kUnderflow);
    write_row(in, out, row, result, target.weight, share);
  }
  if (out.grad == nullptr) return;
  __syncwarp();
  const bool is_used = status == RowStatus::kUsed;
  if (is_used) {
    const A constant = result.grad_softmax + result.grad_label * slots.origin;
    const A slope = result.grad_label * slots.step;
    const A origin = slots.origin - result.expectation;
    Group::for_labels(n_labels, [&](int j, int k) {
      A factor = constant + slope * slots.position(j, k);
      if (has_variance) {
        const A off = origin + slots.step * slots.position(j, k);
        factor += result.grad_square * off * off;
      }
      x[k] = has_products ? factor : e[j] * factor;
    });
  } else {
    Group::for_labels(n_labels, [&](int, int k) { x[k] = result.loss; });
  }
  __syncwarp();
  if (is_used && needs_target) {
    masses.repeat([&](int k, A p) { x[k] -= result.grad_target * p; });
  }
  if (has_products) {
    __syncwarp();
    if (is_used) Group::for_labels(n_labels, [&](int j, int k) { x[k] *= e[j]; });
  }
}

// Shared memory of a block.
template <class A>
struct LossMemory {
  RowTarget<A>* targets;
  Share<A>* shares;
  TileMemory<A> values;

  __device__ LossMemory(void* begin, int n_labels, const TileShape& shape)
      : targets(static_cast<RowTarget<A>*>(begin)),
        shares(reinterpret_cast<Share<A>*>(targets + shape.rows)),
        values(static_cast<char*>(begin) + values_begin(shape.rows), n_labels, shape) {}

  static size_t bytes(int n_labels, int rows, int stride, bool has_table) {
    return values_begin(rows) + TileMemory<A>::bytes(n_labels, rows, stride, has_table);
  }

 private:
  static __host__ __device__ size_t values_begin(int rows) {
    const size_t end = rows * (sizeof(RowTarget<A>) + sizeof(Share<A>));
    return (end + sizeof(uint4) - 1) / sizeof(uint4) * sizeof(uint4);
  }
};

template <class A, class Group, bool kExtended>
__global__ void __launch_bounds__(kBlockThreads, (kMinBlocks<A, Group>))
    label_distribution_loss_tiles(const LossInputs in, const LossOutputs out,
                                  const Coefficients<A> by, bool needs_target,
                                  const TileShape shape) {
  const int n_labels = in.grid.size, thread = static_cast<int>(threadIdx.x);
  const LossMemory<A> memory(&block_memory<RowTarget<A>>(), n_labels, shape);
  A* labels = memory.values.labels;
  const bool has_table = in.distribution.data != nullptr || in.options.kind == Kind::kGaussianBin;
  fill_labels(in.grid, labels);
  const int64_t row0 = static_cast<int64_t>(blockIdx.x) * shape.rows;
  const TileRows rows = tile_rows<Group>(in.logits.n_rows, row0, shape.rows);
  Row row{0, 1, 0, RowStatus::kIgnored};
  if (thread < rows.count) row = read_row(in, row0 + thread);
  const int begin = load_rows(in.logits, row0, rows, n_labels, shape, memory.values.tile);
  A* tile = memory.values.tile + begin;
  if (thread < rows.padded) {
    if (thread < rows.count) row = check_row(in, row, row0 + thread, out.bad_row);
    set_target<A, kExtended>(in, row, needs_target, memory.targets[thread]);
  }
  __syncthreads();
#pragma unroll 1
  for (int r = Group::index(); r < rows.padded; r += Group::kGroups) {
    RowTarget<A>& target = memory.targets[r];
    A* table = memory.values.table + r * n_labels;
    if (has_table && needs_target) {
      if (in.distribution.data != nullptr) {
        tabulate_histogram<A, Group>(in, out, row0 + r, target, table);
      } else {
        tabulate_bins<A, Group>(in, target, table);
      }
      __syncwarp();
    }
    const auto compute = [&](auto equally_spaced) {
      compute_row<A, Group, equally_spaced.value, kExtended>(
          in, out, by, target, labels, table, row0 + r, r < rows.count, needs_target,
          tile + r * shape.stride, memory.shares[r]);
    };
    if (is_equally_spaced<A>(in.grid)) {
      compute(std::bool_constant<sizeof(A) == sizeof(float)>());
    } else {
      compute(std::false_type());
    }
  }
  __syncthreads();
  if (out.grad != nullptr) {
    store_rows(memory.values.tile, begin, in.logits.storage, row0, rows.count, n_labels, shape,
               out.grad);
  }
  if (thread < kWarp) write_shares(in, out, memory.shares, rows.count);
}

}  // namespace dldl_fast::cuda
