// Target distributions of one row in float64: where they have mass, and those kinds that are not
// computed with vectors. Plain code; the Gaussian of ordinary width is in the loss kernel.
#pragma once

#include "cpu/lanes.h"

namespace dldl_fast::DLDL_FAST_ISA {
namespace {

// Target mass below e^-25.33 = 1e-11 of the row's largest counts as 0.
constexpr double kLogTail = -25.328436022934504;
constexpr double kTail = 1e-11;
constexpr double kFlatCell = 1e-6;      // change of the density inside a cell that goes for none
constexpr double kTailSigmas = 7.1173;  // sqrt(-2 kLogTail): so far out is the tail

// Index of the label nearest to y, the lower one on a tie, which is exact where y and the midpoint
// are: the guess is corrected against the midpoints themselves.
DLDL_FAST_INLINE int64_t nearest_label(const LabelGrid& grid, double y) {
  const double* mid = grid.midpoints;
  if (grid.inverse_step > 0) {
    double guess = (y - grid.labels[0]) * grid.inverse_step + 0.5;
    const double last = static_cast<double>(grid.size - 1);
    guess = guess > 0 ? guess : 0;
    guess = guess < last ? guess : last;
    int64_t n = static_cast<int64_t>(guess);
    if (n > 0 && y <= mid[n - 1]) --n;
    if (n + 1 < grid.size && y > mid[n]) ++n;
    return n;
  }
  int64_t low = 0, high = grid.size - 1;  // first midpoint that is >= y
  while (low < high) {
    const int64_t m = (low + high) / 2;
    if (mid[m] < y) {
      low = m + 1;
    } else {
      high = m;
    }
  }
  return low;
}

// The label, if any, that is exactly as near as the nearest one is the next.
DLDL_FAST_INLINE bool is_tie(const LabelGrid& grid, double y, int64_t nearest) {
  return nearest + 1 < grid.size && y == grid.midpoints[nearest];
}

// Labels first..last may have mass; all others have none.
struct Window {
  int64_t first;
  int64_t last;
};

// Labels from l_near - left to l_near + right, and perhaps one beside them.
DLDL_FAST_INLINE Window window_around(const LabelGrid& grid, int64_t nearest, double left,
                                      double right) {
  constexpr double kRounding = 1e-6;  // a tie is inside
  left *= 1 + kRounding;
  right *= 1 + kRounding;
  const double l_near = grid.labels[nearest];
  const int64_t n_labels = grid.size;
  if (grid.inverse_step > 0) {
    const double span = static_cast<double>(n_labels);
    const double below = left * grid.inverse_step + kRounding;
    const double above = right * grid.inverse_step + kRounding;
    const int64_t first = nearest - static_cast<int64_t>(below < span ? below : span);
    const int64_t last = nearest + static_cast<int64_t>(above < span ? above : span);
    return {first > 0 ? first : 0, last < n_labels ? last : n_labels - 1};
  }
  int64_t low = 0, high = nearest;
  while (low < high) {
    const int64_t m = (low + high) / 2;
    if (l_near - grid.labels[m] > left) {
      low = m + 1;
    } else {
      high = m;
    }
  }
  int64_t bottom = nearest, top = n_labels - 1;
  while (bottom < top) {
    const int64_t m = (bottom + top + 1) / 2;
    if (grid.labels[m] - l_near > right) {
      top = m - 1;
    } else {
      bottom = m;
    }
  }
  return {low, bottom};
}

// Labels with (l - y)^2 <= (l_near - y)^2 + 2 sigma^2 log_range.
DLDL_FAST_INLINE Window gaussian_window(const LabelGrid& grid, double y, double sigma,
                                        int64_t nearest, double log_range) {
  const double delta = grid.labels[nearest] - y;
  const double t = 2 * sigma * sigma * log_range;
  const double radius = std::sqrt(t + delta * delta);
  // radius - |delta| without cancellation for y far away.
  const double right = delta > 0 ? t / (radius + delta) : radius - delta;
  const double left = delta < 0 ? t / (radius - delta) : radius + delta;
  return window_around(grid, nearest, left, right);
}

// Labels with |l - y| <= |l_near - y| + sigma log_range.
DLDL_FAST_INLINE Window laplace_window(const LabelGrid& grid, double y, double sigma,
                                       int64_t nearest, double log_range) {
  const double twice = 2 * (grid.labels[nearest] - y), t = sigma * log_range;
  return window_around(grid, nearest, twice > 0 ? t + twice : t, twice < 0 ? t - twice : t);
}

// Mass of a label relative to that of the nearest one. In sums of two labels, as midpoints are: the
// excess is 0 on a tie and never below.
DLDL_FAST_INLINE double relative_mass(Kind kind, double l, double l_near, double y, double sigma) {
  const bool is_laplace = kind == Kind::kLaplace;
  const double apart = l - l_near, sum = l + l_near - 2 * y;
  // |l - y| - |l_near - y|, as no label lies between l_near and y; or the same of squares.
  const double excess = is_laplace ? std::fmin(std::fabs(apart), std::fabs(sum)) : apart * sum;
  const double unit = is_laplace ? sigma : 2 * sigma * sigma;
  const double mass = excess == 0 ? 1 : std::exp(-excess / unit);
  return mass < kTail ? 0 : mass;
}

// All mass on the nearest label, halves on a tie: the limit of sigma -> 0.
DLDL_FAST_INLINE Window point_mass(const LabelGrid& grid, double y, int64_t nearest, bool halves,
                                   double* p) {
  const bool tie = halves && is_tie(grid, y, nearest);
  p[0] = 1;
  p[1] = tie ? 1 : 0;
  return {nearest, nearest + (tie ? 1 : 0)};
}

DLDL_FAST_INLINE Window two_hot(const LabelGrid& grid, double y, int64_t nearest, double* p) {
  const double* l = grid.labels;
  if (y <= l[0] || y >= l[grid.size - 1]) return point_mass(grid, y, nearest, false, p);
  const int64_t lower = y < l[nearest] ? nearest - 1 : nearest;
  const double share = (y - l[lower]) / (l[lower + 1] - l[lower]);
  p[0] = 1 - share;
  p[1] = share;
  return {lower, lower + 1};
}

// exp(x^2) erfc(x) for x >= 0: by definition where erfc is normal, else by its asymptotic series.
DLDL_FAST_INLINE double erfcx(double x) {
  if (x < 25) return std::exp(x * x) * std::erfc(x);
  const double u = 0.5 / (x * x);
  const double series = 1 - u * (1 - 3 * u * (1 - 5 * u * (1 - 7 * u * (1 - 9 * u))));
  return series * 0.56418958354775628695 / x;
}

// Border below label k: the midpoint; the end cells are as wide outside as inside.
DLDL_FAST_INLINE double border(const LabelGrid& grid, int64_t k) {
  const double* l = grid.labels;
  const double* mid = grid.midpoints;
  if (k == 0) return l[0] - (mid[0] - l[0]);
  if (k == grid.size) return l[k - 1] + (l[k - 1] - mid[k - 2]);
  return mid[k - 1];
}

// Normal mass of the cells of labels first..last, up to a common factor, written to p. The two
// tails of the normal distribution are taken from y outwards, so that nothing cancels, and relative
// to the border nearest to y where that lies outside of all cells, so that nothing underflows.
// Returns the largest mass; 0 where y is so far away that the nearest label has it all.
template <class A>
DLDL_FAST_INLINE double bin_masses(const LabelGrid& grid, double y, double sigma, Window window,
                                   A* p) {
  constexpr double kSqrtHalf = 0.70710678118654752440;
  constexpr double kTwoDensity = 0.79788456080286535588;  // sqrt(2 / pi), as tails count twice
  const double z_first = (border(grid, 0) - y) / sigma;
  const double z_end = (border(grid, grid.size) - y) / sigma;
  const double z0 = z_first > 0 ? z_first : (z_end < 0 ? -z_end : 0);
  // Cells much narrower than sigma have masses near 0, scaled up here.
  const double range = border(grid, grid.size) - border(grid, 0);
  const double scale = sigma > range ? sigma / range : 1;
  double z = (border(grid, window.first) - y) / sigma;
  double peak = 0;
  double tail = 0, next_tail = 0;
  for (int64_t k = window.first - 1; k <= window.last; ++k) {
    const double z_next = (border(grid, k + 1) - y) / sigma;
    const double distance = z_next < 0 ? -z_next : z_next;
    next_tail = std::exp(-(distance - z0) * (distance + z0) / 2) * erfcx(distance * kSqrtHalf);
    if (k >= window.first) {
      double mass = z >= 0        ? tail - next_tail
                    : z_next <= 0 ? next_tail - tail
                                  : 2 - tail - next_tail;
      // Where the density hardly changes inside the cell, the difference loses its digits.
      const double centre = std::fabs(z + z_next) / 2;
      const double width = (border(grid, k + 1) - border(grid, k)) / sigma;
      if ((1 + centre) * width < kFlatCell) {
        mass = kTwoDensity * std::exp(-(centre - z0) * (centre + z0) / 2) * width;
      }
      mass *= scale;
      p[k - window.first] = static_cast<A>(mass);
      peak = mass > peak ? mass : peak;
    }
    tail = next_tail;
    z = z_next;
  }
  return peak > 1e-25 ? peak : 0;
}

}  // namespace
}  // namespace dldl_fast::DLDL_FAST_ISA
