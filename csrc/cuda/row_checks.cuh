// The values of a row: read, checked, and replaced where they cannot be used. A bad row is NaN; the
// first one is also noted for a caller who asks for it.
#pragma once

#include "cuda/label_distribution_loss.h"
#include "cuda/label_grid.cuh"

namespace dldl_fast::cuda {

struct Row {
  double target;
  double sigma;
  double weight;
  RowStatus status;
};

// The smallest row wins, and in it the first check, whatever the order of the threads.
__device__ inline void note(unsigned long long* bad_row, int64_t row, BadValue what) {
  if (bad_row == nullptr) return;
  atomicMin(bad_row,
            static_cast<unsigned long long>(row) << 8 | static_cast<unsigned long long>(what));
}

__device__ inline Row read_row(const LossInputs& in, int64_t i) {
  return {in.target.data == nullptr ? ends_of(in.grid).first : value_at(in.target, i),
          in.sigma.data == nullptr ? in.sigma_number : value_at(in.sigma, i),
          in.weight.data == nullptr ? 1.0 : value_at(in.weight, i), RowStatus::kUsed};
}

// All but the histogram, which takes the whole group of the row's threads.
__device__ inline Row check_row(const LossInputs& in, Row row, int64_t i,
                                unsigned long long* bad_row) {
  const LossOptions& options = in.options;
  const double first = ends_of(in.grid).first, last = ends_of(in.grid).last;
  if (options.ignore_nan && row.target != row.target) {
    return {first, 1, 0, RowStatus::kIgnored};
  }
  BadValue bad = BadValue::kNone;
  if (!is_finite(row.target)) {
    bad = BadValue::kTargetNotFinite;
  } else if (row.target < first || row.target > last) {
    if (options.out_of_range == OutOfRange::kError) bad = BadValue::kTargetOutside;
    if (options.out_of_range == OutOfRange::kClamp) row.target = row.target < first ? first : last;
  }
  if (bad == BadValue::kNone && in.distribution.data == nullptr &&
      (!(row.sigma >= 0 && row.sigma < kInfinity) ||
       (row.sigma == 0 && options.kind == Kind::kGaussianPdf))) {
    bad = BadValue::kSigma;
  }
  if (bad == BadValue::kNone && !(row.weight >= 0 && row.weight < kInfinity)) {
    bad = BadValue::kWeight;
  }
  if (bad == BadValue::kNone) return row;
  note(bad_row, i, bad);
  // Weight 1, so that a bad weight makes this row NaN and not the factor of all others.
  return {first, 1, 1, RowStatus::kBad};
}

}  // namespace dldl_fast::cuda
