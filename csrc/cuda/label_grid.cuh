// Labels relative to the middle of the grid, so that labels near 1,000,000 are as exact as labels
// near 0; and finding labels, in float64.
#pragma once

#include "cuda/inputs.h"
#include "cuda/row_group.cuh"

namespace dldl_fast::cuda {

__device__ inline double value_at(const RowValues& values, int64_t i) {
  return values.is_double ? static_cast<const double*>(values.data)[i]
                          : static_cast<double>(static_cast<const float*>(values.data)[i]);
}

struct GridEnds {
  double first;
  double last;
  double middle;
};

__device__ inline GridEnds ends_of(const LabelGrid& grid) {
  const double first = grid.labels[0], last = grid.labels[grid.size - 1];
  return {first, last, (first + last) / 2};
}

// Whether labels follow from their indices. Not in float64, where a grid is equally spaced only up
// to the rounding of the labels.
template <class A>
__device__ inline bool is_equally_spaced(const LabelGrid& grid) {
  return sizeof(A) == sizeof(float) && grid.step > 0;
}

// An equally spaced label is computed: nothing is read from memory.
template <class A>
__device__ inline A centred_label(const LabelGrid& grid, const GridEnds& ends, int k) {
  if (is_equally_spaced<A>(grid)) {
    return static_cast<A>(static_cast<float>(2 * k - (grid.size - 1)) *
                          (0.5f * static_cast<float>(grid.step)));
  }
  return static_cast<A>(grid.labels[k] - ends.middle);
}

template <class A>
__device__ inline void fill_labels(const LabelGrid& grid, A* labels) {
  const GridEnds ends = ends_of(grid);
#pragma unroll 1
  for (int k = static_cast<int>(threadIdx.x); k < grid.size; k += kBlockThreads) {
    labels[k] = centred_label<A>(grid, ends, k);
  }
}

// The labels of a lane's slots are origin + step * position. On an equally spaced grid positions
// are slot numbers, which the compiler knows; else they are the labels themselves.
template <class A, class Group, bool kEquallySpaced>
struct SlotLabels {
  A origin = 0;
  A step = 1;

  __device__ SlotLabels(const LabelGrid& grid, const A* labels) : labels_(labels) {
    if (!kEquallySpaced) return;
    const A half = A(0.5) * static_cast<A>(grid.step);
    const int middle = Group::lane() + kMiddle * Group::kLanes;
    origin = static_cast<A>(2 * middle - (grid.size - 1)) * half;
    step = static_cast<A>(2 * Group::kLanes) * half;
  }
  __device__ __forceinline__ A position(int slot, int k) const {
    return kEquallySpaced ? static_cast<A>(slot - kMiddle) : labels_[k];
  }

 private:
  static constexpr int kMiddle = Group::kSlots / 2;  // small positions lose the fewest digits
  const A* labels_;
};

__device__ inline double midpoint(const LabelGrid& grid, int k) {
  return (grid.labels[k] + grid.labels[k + 1]) / 2;
}

// Index of the label nearest to y, the lower one on a tie, which is exact where y and the midpoint
// are: the guess is corrected against the midpoints themselves.
__device__ inline int nearest_label(const LabelGrid& grid, double y) {
  if (grid.step > 0) {
    const double guess = (y - grid.labels[0]) * grid.inverse_step + 0.5;
    int n = static_cast<int>(fmin(fmax(guess, 0.0), static_cast<double>(grid.size - 1)));
    if (n > 0 && y <= midpoint(grid, n - 1)) --n;
    if (n + 1 < grid.size && y > midpoint(grid, n)) ++n;
    return n;
  }
  int low = 0, high = grid.size - 1;  // first midpoint that is >= y
  while (low < high) {
    const int m = (low + high) / 2;
    if (midpoint(grid, m) < y) {
      low = m + 1;
    } else {
      high = m;
    }
  }
  return low;
}

// Labels first..last may have mass; all others have none.
struct Window {
  int first;
  int last;
};

// Labels from l_near - left to l_near + right, and perhaps one beside them.
__device__ inline Window window_around(const LabelGrid& grid, int nearest, double l_near,
                                       double left, double right) {
  constexpr double kRounding = 1e-6;  // a tie is inside
  left *= 1 + kRounding;
  right *= 1 + kRounding;
  const double inverse_step = grid.inverse_step;
  if (inverse_step > 0) {
    const double span = grid.size;
    const int below = static_cast<int>(fmin(left * inverse_step + kRounding, span));
    const int above = static_cast<int>(fmin(right * inverse_step + kRounding, span));
    return {max(nearest - below, 0), min(nearest + above, grid.size - 1)};
  }
  int low = 0, high = nearest;
  while (low < high) {
    const int m = (low + high) / 2;
    if (l_near - grid.labels[m] > left) {
      low = m + 1;
    } else {
      high = m;
    }
  }
  int bottom = nearest, top = grid.size - 1;
  while (bottom < top) {
    const int m = (bottom + top + 1) / 2;
    if (grid.labels[m] - l_near > right) {
      top = m - 1;
    } else {
      bottom = m;
    }
  }
  return {low, bottom};
}

// Labels with (l - y)^2 <= (l_near - y)^2 + 2 sigma^2 log_range.
__device__ inline Window gaussian_window(const LabelGrid& grid, double y, double sigma, int nearest,
                                         double log_range) {
  const double l_near = grid.labels[nearest];
  const double delta = l_near - y;
  const double t = 2 * sigma * sigma * log_range;
  const double radius = sqrt(t + delta * delta);
  // radius - |delta| without cancellation for y far away.
  const double right = delta > 0 ? t / (radius + delta) : radius - delta;
  const double left = delta < 0 ? t / (radius - delta) : radius + delta;
  return window_around(grid, nearest, l_near, left, right);
}

// Labels with |l - y| <= |l_near - y| + sigma log_range.
__device__ inline Window laplace_window(const LabelGrid& grid, double y, double sigma, int nearest,
                                        double log_range) {
  const double l_near = grid.labels[nearest];
  const double twice = 2 * (l_near - y), t = sigma * log_range;
  return window_around(grid, nearest, l_near, twice > 0 ? t + twice : t, twice < 0 ? t - twice : t);
}

}  // namespace dldl_fast::cuda
