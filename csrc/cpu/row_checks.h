// The values of a row: read, checked, and replaced where they cannot be used. The first bad row of
// a chunk is noted; the op turns it into an error, or leaves the row's NaN as the only sign.
#pragma once

#include "cpu/lanes.h"

namespace dldl_fast::DLDL_FAST_ISA {
namespace {

struct Row {
  double target;
  double sigma;
  double weight;
  RowStatus status;
  double histogram_sum = 1;
};

DLDL_FAST_INLINE void note(ChunkResult& result, int64_t row, BadValue what, double value) {
  if (result.bad_row >= 0 && result.bad_row < row) return;
  result.bad_row = row;
  result.bad_value = what;
  result.value = value;
}

DLDL_FAST_INLINE bool is_finite(double value) { return value - value == 0; }

// The first thing wrong with a histogram, if any.
DLDL_FAST_INLINE BadValue check_histogram(const RowValues& values, int64_t row, int64_t n_labels,
                                          double& value) {
  double sum = 0;
  for (int64_t k = 0; k < n_labels; ++k) {
    value = values[row * n_labels + k];
    if (!(value >= 0 && value < kInfinity)) return BadValue::kDistribution;
    sum += value;
  }
  value = sum;
  return sum > 0 && sum < kInfinity ? BadValue::kNone : BadValue::kDistributionSum;
}

DLDL_FAST_INLINE Row check_row(const LossInputs& in, int64_t i, ChunkResult& result) {
  const LossOptions& options = in.options;
  const double first = in.grid.labels[0], last = in.grid.labels[in.grid.size - 1];
  Row row{first, in.sigma_number, 1, RowStatus::kUsed};
  if (in.target.data != nullptr) row.target = in.target[i];
  if (options.ignore_nan && row.target != row.target) {
    return {first, 1, 0, RowStatus::kIgnored};
  }
  if (in.sigma.data != nullptr) row.sigma = in.sigma[i];
  if (in.weight.data != nullptr) row.weight = in.weight[i];

  BadValue bad = BadValue::kNone;
  double value = row.target;
  if (!is_finite(row.target)) {
    bad = BadValue::kTargetNotFinite;
  } else if (row.target < first || row.target > last) {
    if (options.out_of_range == OutOfRange::kError) bad = BadValue::kTargetOutside;
    if (options.out_of_range == OutOfRange::kClamp) row.target = row.target < first ? first : last;
  }
  if (bad == BadValue::kNone) {
    if (in.distribution.data != nullptr) {
      bad = check_histogram(in.distribution, i, in.grid.size, value);
      row.histogram_sum = value;
    } else if (!(row.sigma >= 0 && row.sigma < kInfinity) ||
               (row.sigma == 0 && options.kind == Kind::kGaussianPdf)) {
      bad = BadValue::kSigma;
      value = row.sigma;
    }
  }
  if (bad == BadValue::kNone && !(row.weight >= 0 && row.weight < kInfinity)) {
    bad = BadValue::kWeight;
    value = row.weight;
  }
  if (bad == BadValue::kNone) return row;
  note(result, i, bad, value);
  // Weight 1, so that a bad weight makes this row NaN and not the factor of all others.
  return {first, 1, 1, RowStatus::kBad};
}

}  // namespace
}  // namespace dldl_fast::DLDL_FAST_ISA
