// The target distribution of one row, prepared by one thread in float64, so that the others only
// evaluate it.
#pragma once

#include "cuda/row_checks.cuh"

namespace dldl_fast::cuda {

// Target mass below e^-25.33 = 1e-11 of the row's largest counts as 0.
constexpr double kLogTail = -25.328436022934504;
constexpr double kTailSigmas = 7.117364122051717;  // sqrt(-2 kLogTail)
constexpr double kTail = 1e-11;
constexpr double kFlatCell = 1e-6;  // change of the density inside a cell that goes for none

enum class Shape {
  kNone,       // not needed
  kGaussian,   // log2 p_k = u (curvature u + slope), u = k - near or l_k - near
  kLaplace,    // log2 p_k = curvature min(|u|, |u + slope|)
  kPoints,     // up to three neighbours have all mass
  kBins,       // normal mass of the cells of a window
  kHistogram,  // the caller's
};

constexpr int kMaxPoints = 3;

template <class A>
struct RowTarget {
  Shape shape;
  RowStatus status;
  A target;  // relative to the middle of the grid
  A weight;
  A near, curvature, slope;  // of kGaussian and kLaplace
  int first, last;           // only these labels may have mass
  int nearest;               // of kBins
  A mass[kMaxPoints];        // of kPoints
  A entropy;                 // sum p log2 p of kPoints
  A scale, log_scale;        // c and log2 c of gaussian_pdf
  double y, sigma;           // of kBins
};

// All mass on the nearest label, halves on a tie: the limit of sigma -> 0.
template <class A>
__device__ inline void set_point_mass(const LabelGrid& grid, double y, int nearest, bool halves,
                                      RowTarget<A>& target) {
  const bool tie = halves && nearest + 1 < grid.size && y == midpoint(grid, nearest);
  target.shape = Shape::kPoints;
  target.first = nearest;
  target.last = nearest + (tie ? 1 : 0);
  target.mass[0] = 1;
  target.mass[1] = tie ? A(1) : A(0);
  target.mass[2] = 0;
  target.entropy = 0;
}

// Mass mass_of(i) on the labels from `first` on. One at a time, for the sake of registers.
template <class A, class F>
__device__ __forceinline__ void set_points(int first, RowTarget<A>& target, const F& mass_of) {
  double entropy = 0;
#pragma unroll 1
  for (int i = 0; i < kMaxPoints; ++i) {
    const double p = mass_of(i);
    target.mass[i] = static_cast<A>(p);
    if (p > 0) entropy += p * log2(p);
  }
  target.shape = Shape::kPoints;
  target.first = first;
  target.last = first + kMaxPoints - 1;
  target.entropy = static_cast<A>(entropy);
}

template <class A>
__device__ inline void set_two_hot(const LabelGrid& grid, double y, int nearest,
                                   RowTarget<A>& target) {
  const double* l = grid.labels;
  if (y <= l[0] || y >= l[grid.size - 1]) return set_point_mass(grid, y, nearest, false, target);
  const int lower = y < l[nearest] ? nearest - 1 : nearest;
  const double share = (y - l[lower]) / (l[lower + 1] - l[lower]);
  set_points(lower, target, [&](int i) { return i == 0 ? 1 - share : i == 1 ? share : 0; });
}

template <class A>
__device__ inline void set_gaussian(const LabelGrid& grid, int nearest, double l_near, double y,
                                    double sigma, Window window, RowTarget<A>& target) {
  const bool by_index = is_equally_spaced<A>(grid);
  const double unit = by_index ? grid.inverse_step : 1;
  const A s = static_cast<A>(sigma * unit);
  const A curvature = static_cast<A>(-0.5 * kLog2E) * reciprocal(s * s);
  target.shape = Shape::kGaussian;
  target.near = by_index ? static_cast<A>(nearest) : centred_label<A>(grid, ends_of(grid), nearest);
  target.curvature = curvature;
  target.slope = static_cast<A>(2 * (l_near - y) * unit) * curvature;
  target.first = window.first;
  target.last = window.last;
}

template <class A>
__device__ inline void set_laplace(const LabelGrid& grid, int nearest, double l_near, double y,
                                   double sigma, Window window, RowTarget<A>& target) {
  const bool by_index = is_equally_spaced<A>(grid);
  const double unit = by_index ? grid.inverse_step : 1;
  target.shape = Shape::kLaplace;
  target.near = by_index ? static_cast<A>(nearest) : centred_label<A>(grid, ends_of(grid), nearest);
  target.curvature = static_cast<A>(-kLog2E / (sigma * unit));
  target.slope = static_cast<A>(2 * (l_near - y) * unit);
  target.first = window.first;
  target.last = window.last;
}

// Mass of a label relative to that of the nearest one. In sums of two labels, as midpoints are: the
// excess is 0 on a tie and never below.
__device__ inline double mass_of_label(bool is_laplace, double l, double l_near, double y,
                                       double sigma) {
  const double apart = l - l_near, sum = l + l_near - 2 * y;
  // |l - y| - |l_near - y|, as no label lies between l_near and y; or the same of squares.
  const double excess = is_laplace ? fmin(fabs(apart), fabs(sum)) : apart * sum;
  const double unit = is_laplace ? sigma : 2 * sigma * sigma;
  const double mass = excess == 0 ? 1 : exp(-excess / unit);
  return mass < kTail ? 0 : mass;
}

// A sigma of half a step or more on an equally spaced grid: never narrow, and any label beside y
// serves as the nearest one.
template <class A>
__device__ inline bool set_ordinary_gaussian(const LossInputs& in, const Row& row,
                                             RowTarget<A>& target) {
  const GridEnds ends = ends_of(in.grid);
  const double steps = row.sigma * in.grid.inverse_step;
  if (in.options.kind != Kind::kGaussian || !(steps >= 0.5 && steps <= 1e8) ||
      row.target < ends.first || row.target > ends.last) {
    return false;
  }
  const double at = (row.target - ends.first) * in.grid.inverse_step;
  const int n = static_cast<int>(at + 0.5);
  const double l_near =
      sizeof(A) == sizeof(float) ? ends.first + n * in.grid.step : in.grid.labels[n];
  // Labels with (l - y)^2 <= (l_near - y)^2 + (kTailSigmas sigma)^2, in steps.
  const A centre = static_cast<A>(at), off = centre - static_cast<A>(n);
  const A reach = static_cast<A>(kTailSigmas * steps);
  const A radius = sqrt(reach * reach + off * off);
  const Window window{max(static_cast<int>(ceil(centre - radius)), 0),
                      min(static_cast<int>(floor(centre + radius)), in.grid.size - 1)};
  set_gaussian(in.grid, n, l_near, row.target, row.sigma, window, target);
  return true;
}

// Everything about a row that does not depend on its logits.
template <class A, bool kExtended>
__device__ inline void set_target(const LossInputs& in, const Row& row, bool needs_target,
                                  RowTarget<A>& target) {
  const LabelGrid& grid = in.grid;
  const double y = row.target, sigma = row.sigma;
  target = {};
  target.target = static_cast<A>(y - ends_of(grid).middle);
  target.weight = static_cast<A>(row.weight);
  target.status = row.status;
  if (!needs_target || row.status != RowStatus::kUsed) return;
  if (in.distribution.data != nullptr) {
    target.shape = Shape::kHistogram;
    target.last = grid.size - 1;
    return;
  }
  if (set_ordinary_gaussian(in, row, target)) return;
  const int nearest = nearest_label(grid, y);
  const Kind kind = in.options.kind;
  if (kind == Kind::kOneHot) return set_point_mass(grid, y, nearest, false, target);
  if (kind == Kind::kTwoHot) return set_two_hot(grid, y, nearest, target);
  if (kind == Kind::kGaussianBin) {
    if (sigma == 0) return set_point_mass(grid, y, nearest, true, target);
    // Cells of 1e-11 of the largest mass lie inside e^-60 of the density at the nearest label while
    // sigma is below e^34 cells. A cell reaches half way to the next label, so those beside the
    // window may have mass.
    constexpr double kLogRange = 60;
    const Window window = gaussian_window(grid, y, sigma, nearest, kLogRange);
    target.shape = Shape::kBins;
    target.first = max(window.first - 1, 0);
    target.last = min(window.last + 1, grid.size - 1);
    target.nearest = nearest;
    target.y = y;
    target.sigma = sigma;
    return;
  }
  const double l_near = grid.labels[nearest];
  const double delta = l_near - y;
  if (kind == Kind::kGaussianPdf) {
    constexpr double kLogSqrtTwoPi = 0.91893853320467274178;
    const double z = delta / sigma;
    const double log_scale = -0.5 * z * z - kLogSqrtTwoPi - log(sigma);
    target.log_scale = static_cast<A>(log_scale * kLog2E);
    target.scale = static_cast<A>(exp(log_scale));
  }
  const bool is_laplace = kExtended && kind == Kind::kLaplace;
  const Window window = is_laplace ? laplace_window(grid, y, sigma, nearest, -kLogTail)
                                   : gaussian_window(grid, y, sigma, nearest, -kLogTail);
  // A sigma far below the distance of the labels: in float64, since the second label's share
  // depends on y beyond the digits of float32, and 1 / sigma^2 may overflow.
  if (window.last - window.first < kMaxPoints) {
    return set_points(window.first, target, [&](int i) {
      if (window.first + i > window.last) return 0.0;
      return mass_of_label(is_laplace, grid.labels[window.first + i], l_near, y, sigma);
    });
  }
  if (is_laplace) return set_laplace(grid, nearest, l_near, y, sigma, window, target);
  set_gaussian(grid, nearest, l_near, y, sigma, window, target);
}

// u = k - near on an equally spaced grid, else l_k - near.
template <bool kExtended, class A>
__device__ __forceinline__ A density_log2(const RowTarget<A>& target, A u) {
  if (kExtended && target.shape == Shape::kLaplace) {
    return smaller(magnitude(u), magnitude(u + target.slope)) * target.curvature;
  }
  return u * (u * target.curvature + target.slope);
}

// Whether density_log2 has the masses.
template <bool kExtended>
__device__ __forceinline__ bool is_density(Shape shape) {
  return shape == Shape::kGaussian || (kExtended && shape == Shape::kLaplace);
}

template <class A>
__device__ __forceinline__ A point_mass(const RowTarget<A>& target, int k) {
  const int i = k - target.first;
  return i == 0 ? target.mass[0] : i == 1 ? target.mass[1] : i == 2 ? target.mass[2] : A(0);
}

// p log2 p; below the normal numbers of float32 it is nothing.
template <class A>
__device__ __forceinline__ A p_log_p(A p) {
  return p < A(1e-37) ? A(0) : p * log_2(p);
}

// Normal mass of single cells, up to a common factor. The two tails of the normal distribution are
// taken from y outwards, so that nothing cancels, and relative to the border nearest to y where
// that lies outside of all cells, so that nothing underflows.
class Bins {
 public:
  __device__ Bins(const LabelGrid& grid, double y, double sigma)
      : grid_(grid), y_(y), sigma_(sigma) {
    const double begin = border(0), end = border(grid.size);
    const double z_first = (begin - y) / sigma, z_end = (end - y) / sigma;
    z0_ = z_first > 0 ? z_first : (z_end < 0 ? -z_end : 0);
    // Cells much narrower than sigma have masses near 0, scaled up here.
    scale_ = sigma > end - begin ? sigma / (end - begin) : 1;
  }

  __device__ double mass(int k) const {
    constexpr double kTwoDensity = 0.79788456080286535588;  // sqrt(2 / pi), as tails count twice
    const double below = border(k), above = border(k + 1);
    const double z = (below - y_) / sigma_, z_next = (above - y_) / sigma_;
    // Where the density hardly changes inside the cell, the difference loses its digits.
    const double centre = fabs(z + z_next) / 2;
    const double width = (above - below) / sigma_;
    if ((1 + centre) * width < kFlatCell) {
      return scale_ * kTwoDensity * exp(-(centre - z0_) * (centre + z0_) / 2) * width;
    }
    // One tail at a time, for the sake of registers.
    double mass = z < 0 && z_next > 0 ? 2 : 0;
#pragma unroll 1
    for (int side = 0; side < 2; ++side) {
      const double border_z = side == 0 ? z : z_next;
      const bool adds = side == 0 ? z >= 0 : z_next <= 0 && z < 0;
      const double tail_mass = tail(fabs(border_z));
      mass += adds ? tail_mass : -tail_mass;
    }
    return scale_ * mass;
  }

 private:
  // Border below label k: the midpoint; the end cells are as wide outside as inside.
  __device__ double border(int k) const {
    const double* l = grid_.labels;
    const int last = grid_.size - 1;
    if (k == 0) return l[0] - (midpoint(grid_, 0) - l[0]);
    if (k > last) return l[last] + (l[last] - midpoint(grid_, last - 1));
    return midpoint(grid_, k - 1);
  }

  __device__ double tail(double distance) const {
    constexpr double kSqrtHalf = 0.70710678118654752440;
    return exp(-(distance - z0_) * (distance + z0_) / 2) * erfcx(distance * kSqrtHalf);
  }

  const LabelGrid& grid_;
  double y_;
  double sigma_;
  double z0_;
  double scale_;
};

// Below, the largest mass is not meant to be divided by: y is so far away that the nearest label
// has it all.
constexpr double kSmallestPeak = 1e-25;

// Mass of a cell relative to the largest one.
__device__ inline double relative_mass(double mass, double peak) {
  const double p = mass / peak;
  return p < kTail ? 0 : p;
}

}  // namespace dldl_fast::cuda
