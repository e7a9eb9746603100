// The loss of rows too long for registers, and its gradient: a block a row, which reads the logits
// three times (the later ones from the cache, as long as the rows in work fit into it).
#pragma once

#include "cuda/packet.cuh"
#include "cuda/row_loss.cuh"

namespace dldl_fast::cuda {

// What evaluating a target distribution needs beside RowTarget.
struct TargetScale {
  double histogram = 1;  // 1 / sum
  double peak = 1;       // largest mass of the cells
};

// Checks a histogram, or finds the largest cell; all threads of the block take part.
template <class A>
__device__ TargetScale measure_target(const LossInputs& in, const LossOutputs& out, int64_t row,
                                      RowTarget<A>& target, Scratch<double>& scratch) {
  const int thread = static_cast<int>(threadIdx.x), n_labels = in.grid.size;
  TargetScale scale;
  if (target.shape == Shape::kHistogram) {
    double sum = 0, wrong = 0;
    for (int k = thread; k < n_labels; k += kBlockThreads) {
      const double value = value_at(in.distribution, row * n_labels + k);
      wrong += value >= 0 && value < kInfinity ? 0 : 1;
      sum += value;
    }
    sum = block_sum(sum, scratch);
    wrong = block_sum(wrong, scratch);
    scale.histogram = 1 / sum;
    if (thread == 0 && !(wrong == 0 && sum > 0 && sum < kInfinity)) {
      target.status = RowStatus::kBad;
      target.weight = 1;
      note(out.bad_row, row, wrong > 0 ? BadValue::kDistribution : BadValue::kDistributionSum);
    }
    __syncthreads();
  } else if (target.shape == Shape::kBins) {
    const Bins bins(in.grid, target.y, target.sigma);
    double peak = 0;
    for (int k = target.first + thread; k <= target.last; k += kBlockThreads) {
      peak = fmax(peak, bins.mass(k));
    }
    scale.peak = block_max(peak, scratch);
    if (thread == 0 && scale.peak <= kSmallestPeak) {
      set_point_mass(in.grid, target.y, target.nearest, false, target);
    }
    __syncthreads();
  }
  return scale;
}

template <class A>
struct TargetMass {
  A p = 0;
  A log_p_p = 0;  // p log2 p
};

template <bool kExtended, class A>
__device__ TargetMass<A> target_mass(const LossInputs& in, int64_t row, int k, A label,
                                     const RowTarget<A>& target, const TargetScale& scale) {
  if (k < target.first || k > target.last) return {};
  switch (target.shape) {
    case Shape::kLaplace:
      if (!kExtended) break;
      [[fallthrough]];
    case Shape::kGaussian: {
      const A position = is_equally_spaced<A>(in.grid) ? static_cast<A>(k) : label;
      const A log_p = density_log2<kExtended>(target, position - target.near);
      const A p = power_of_2(log_p);
      return {p, p * log_p};
    }
    case Shape::kPoints:
      return {point_mass(target, k), 0};
    case Shape::kHistogram: {
      const double value = value_at(in.distribution, row * in.grid.size + k);
      const A p = static_cast<A>(value * scale.histogram);
      return {p, p_log_p(p)};
    }
    case Shape::kBins: {
      const Bins bins(in.grid, target.y, target.sigma);
      const A p = static_cast<A>(relative_mass(bins.mass(k), scale.peak));
      return {p, p_log_p(p)};
    }
    case Shape::kNone:
      break;
  }
  return {};
}

template <class A>
struct LongRowMemory {
  RowTarget<A> target;
  Scratch<double> scratch;
  Scratch<A> sum_scratch;
  Share<A> share;
};

template <class T, class A, bool kExtended>
__global__ void __launch_bounds__(kBlockThreads, 2)
    label_distribution_loss_long_rows(const LossInputs in, const LossOutputs out,
                                      const Coefficients<A> by) {
  auto& memory = block_memory<LongRowMemory<A>>();
  RowTarget<A>& target = memory.target;
  const int thread = static_cast<int>(threadIdx.x), n_labels = in.grid.size;
  const GridEnds ends = ends_of(in.grid);
  const bool needs_target = needs_target_distribution(in, out);
  const int64_t row = blockIdx.x;
  if (thread == 0) {
    set_target<A, kExtended>(in, check_row(in, read_row(in, row), row, out.bad_row), needs_target,
                             target);
  }
  __syncthreads();
  const TargetScale scale = measure_target(in, out, row, target, memory.scratch);

  const T* x = static_cast<const T*>(in.logits.data) + row * in.logits.row_stride;
  A max = static_cast<A>(-kInfinity);
  for (int k = thread; k < n_labels; k += kBlockThreads) max = larger(max, to_accumulation(x[k]));
  max = block_max(max, memory.sum_scratch);

  const bool has_products = is_likelihood<kExtended>(in.options);
  RowSums<A> sums;
  for (int k = thread; k < n_labels; k += kBlockThreads) {
    const A d = to_accumulation(x[k]) - max;
    const A label = centred_label<A>(in.grid, ends, k);
    const A exponential = exponential_of(d);
    sums.exponentials += exponential;
    sums.labels += exponential * label;
    const TargetMass<A> mass = target_mass<kExtended>(in, row, k, label, target, scale);
    if (!(mass.p > 0)) continue;
    add_mass(sums, mass.p, mass.log_p_p, has_products ? exponential : d);
    sums.target_labels += mass.p * label;
  }
  for_sums(sums, in.target.data != nullptr, needs_target,
           [&](A& sum) { sum = block_sum(sum, memory.sum_scratch); });
  if (kExtended && by.variance_weight != 0) {
    const A expectation = sums.labels * reciprocal(sums.exponentials);
    for (int k = thread; k < n_labels; k += kBlockThreads) {
      const A off = centred_label<A>(in.grid, ends, k) - expectation;
      sums.squares += exponential_of(to_accumulation(x[k]) - max) * off * off;
    }
    sums.squares = block_sum(sums.squares, memory.sum_scratch);
  }

  RowStatus status = target.status;
  const RowLoss<A> result = finish_row<kExtended>(in, by, target, sums, needs_target, status);
  if (thread == 0) {
    if (status != target.status) note(out.bad_row, row, BadValue::kUnderflow);
    write_row(in, out, row, result, target.weight, memory.share);
  }
  if (out.grad != nullptr) {
    T* grad = static_cast<T*>(out.grad) + row * n_labels;
    for (int k = thread; k < n_labels; k += kBlockThreads) {
      A value = result.loss;
      if (status == RowStatus::kUsed) {
        const A label = centred_label<A>(in.grid, ends, k);
        const A exponential = exponential_of(to_accumulation(x[k]) - max);
        const A p = target_mass<kExtended>(in, row, k, label, target, scale).p;
        A factor = result.grad_softmax + result.grad_label * label;
        if (kExtended) {
          const A off = label - result.expectation;
          factor += result.grad_square * off * off;
        }
        value = has_products ? exponential * (factor - result.grad_target * p)
                             : exponential * factor - result.grad_target * p;
      }
      to_storage(value, grad[k]);
    }
  }
  __syncthreads();
  if (thread < kWarp) write_shares(in, out, &memory.share, 1);
}

}  // namespace dldl_fast::cuda
