// A block of up to W rows of the loss: what its targets are, and the row scalars that come out.
#pragma once

#include "cpu/normal_cells.h"
#include "cpu/row_checks.h"
#include "cpu/softmax_rows.h"
#include "cpu/target_distribution.h"

namespace dldl_fast::DLDL_FAST_ISA {
namespace {

// How the target distribution of a row is computed.
enum class Shape {
  kNone,       // not needed
  kGaussian,   // by vectors: log p_k = neg_inverse u (u + two_delta), u = l_k - l_near
  kLaplace,    // by vectors: log p_k = neg_inverse min(|u|, |u + two_delta|)
  kTabulated,  // already in the scratch row
  kGiven,      // the caller's histogram
};

template <class A, int W>
struct Block {
  int rows;
  RowStatus status[W];
  Shape shape[W];
  // First and last vector that has target mass.
  int32_t window_first[W];
  int32_t window_last[W];
  A l_near[W], two_delta[W], neg_inverse[W];  // of Shape::kGaussian and kLaplace
  A tabulated_entropy[W];                     // sum p log p of Shape::kTabulated
  A target[W];                                // relative to the middle of the grid
  A scale[W], log_scale[W];                   // c and log c of kGaussianPdf
  double weight[W];
  double histogram_scale[W];  // 1 / sum of Shape::kGiven
  // Row scalars, one lane a row, as vectors become them.
  A max[W], mass[W], divergence[W], regression[W], expectation[W], loss[W];
  A grad_softmax[W], grad_expectation[W], grad_variance[W], grad_target[W];
};

template <class A, int W>
DLDL_FAST_INLINE void set_window(Block<A, W>& block, int r, const RowVectors<A, W>& vectors,
                                 Window window) {
  int64_t last = window.last / W;
  // Where the last vector overlaps its predecessor it is written after it: both, or none.
  if (last == vectors.count - 2 && vectors.overlaps) ++last;
  block.window_first[r] = static_cast<int32_t>(window.first / W);
  block.window_last[r] = static_cast<int32_t>(last);
}

// Set the window of a row whose distribution is tabulated, and clear the vectors that it touches.
template <class A, int W>
DLDL_FAST_INLINE void clear_window(Block<A, W>& block, int r, const RowVectors<A, W>& vectors,
                                   Window window, A* scratch) {
  set_window(block, r, vectors, window);
  const int64_t first = vectors.begin(block.window_first[r]);
  const int64_t end = vectors.begin(block.window_last[r]) + W;
  for (int64_t k = first; k < end; ++k) scratch[k] = 0;
}

// Write a tabulated distribution into its window.
template <class A, int W>
DLDL_FAST_INLINE void set_table(Block<A, W>& block, int r, const RowVectors<A, W>& vectors,
                                Window window, const double* p, A* scratch) {
  clear_window(block, r, vectors, window, scratch);
  double entropy = 0;
  for (int64_t k = window.first; k <= window.last; ++k) {
    const double mass = p[k - window.first];
    scratch[k] = static_cast<A>(mass);
    if (mass > 0) entropy += mass * std::log(mass);
  }
  block.tabulated_entropy[r] = static_cast<A>(entropy);
  block.shape[r] = Shape::kTabulated;
}

template <class A, int W>
DLDL_FAST_INLINE void set_bins(Block<A, W>& block, int r, const RowVectors<A, W>& vectors,
                               const LabelGrid& grid, double y, double sigma, int64_t nearest,
                               A* scratch) {
  // Cells of 1e-11 of the largest mass lie inside e^-60 of the density at the nearest label while
  // sigma is below e^34 cells.
  constexpr double kLogRange = 60;
  Window window = gaussian_window(grid, y, sigma, nearest, kLogRange);
  // A cell reaches half way to the next label, so those beside the window may have mass.
  if (window.first > 0) --window.first;
  if (window.last + 1 < grid.size) ++window.last;
  clear_window(block, r, vectors, window, scratch);
  A* p = scratch + window.first;
  const double peak = sigma > 0 ? bin_masses(grid, y, sigma, window, p) : 0;
  if (!(peak > 0)) {
    double point[2];
    const Window at = point_mass(grid, y, nearest, sigma == 0, point);
    set_table(block, r, vectors, at, point, scratch);
    return;
  }
  double entropy = 0;
  for (int64_t i = 0; i <= window.last - window.first; ++i) {
    const double mass = static_cast<double>(p[i]) / peak;
    p[i] = mass < kTail ? A(0) : static_cast<A>(mass);
    if (p[i] > 0) entropy += mass * std::log(mass);
  }
  block.tabulated_entropy[r] = static_cast<A>(entropy);
  block.shape[r] = Shape::kTabulated;
}

// The same on an equally spaced grid for y on it and an ordinary width: half a step or more, so
// that the cell beside the tail is lost in it, and not so many steps that a cell is lost in
// rounding. False for other targets.
template <class A, int W>
DLDL_FAST_INLINE bool set_ordinary_bins(Block<A, W>& block, int r, const RowVectors<A, W>& vectors,
                                        const LabelGrid& grid, double y, double sigma,
                                        int64_t nearest, A* scratch) {
  using V = Vector<A, W>;
  const double steps = sigma * grid.inverse_step, top = static_cast<double>(grid.size - 1);
  if (!(steps >= 0.5 && steps <= 256)) return false;
  if (!(y >= grid.labels[0] && y <= grid.labels[grid.size - 1])) return false;
  const double place = (y - grid.labels[0]) * grid.inverse_step;
  const double reach = steps * kTailSigmas + 1;
  const double first = place - reach, last = place + reach;
  set_window(
      block, r, vectors,
      {static_cast<int64_t>(first > 0 ? first : 0), static_cast<int64_t>(last < top ? last : top)});
  const NormalCells<W> cells(place, 1 / steps, static_cast<double>(nearest));
  V entropy{};
  for (int64_t v = block.window_first[r]; v <= block.window_last[r]; ++v) {
    const int64_t k = vectors.begin(v);
    V p = cells.masses(k);
    p = p < static_cast<float>(kTail) ? V{} : p;
    store<W>(scratch + k, p);
    V term = p * log(max(p, V{} + static_cast<float>(kTail)));
    if (v + 1 == vectors.count) term *= vectors.last_fresh;
    entropy += term;
  }
  block.tabulated_entropy[r] = lane_sum<A, W>(entropy);
  block.shape[r] = Shape::kTabulated;
  return true;
}

// Everything about a row that does not depend on its logits.
template <class A, int W>
DLDL_FAST_INLINE void set_target(Block<A, W>& block, int r, const RowVectors<A, W>& vectors,
                                 const LossInputs& in, const Row& row, bool needs_target,
                                 A* scratch) {
  const LabelGrid& grid = in.grid;
  const double y = row.target;
  block.target[r] = static_cast<A>(y - grid.middle);
  block.weight[r] = row.weight;
  block.status[r] = row.status;
  block.shape[r] = Shape::kNone;
  if (!needs_target || row.status != RowStatus::kUsed) return;
  if (in.distribution.data != nullptr) {
    block.shape[r] = Shape::kGiven;
    block.histogram_scale[r] = 1 / row.histogram_sum;
    block.window_first[r] = 0;
    block.window_last[r] = static_cast<int32_t>(vectors.count - 1);
    return;
  }
  const int64_t nearest = nearest_label(grid, y);
  const Kind kind = in.options.kind;
  double p[2];
  if (kind == Kind::kOneHot) {
    const Window window = point_mass(grid, y, nearest, false, p);
    return set_table(block, r, vectors, window, p, scratch);
  }
  if (kind == Kind::kTwoHot) {
    const Window window = two_hot(grid, y, nearest, p);
    return set_table(block, r, vectors, window, p, scratch);
  }
  const double sigma = row.sigma;
  if (kind == Kind::kGaussianBin) {
    if constexpr (W > 1) {
      if (set_ordinary_bins(block, r, vectors, grid, y, sigma, nearest, scratch)) return;
    }
    return set_bins(block, r, vectors, grid, y, sigma, nearest, scratch);
  }
  const double delta = grid.labels[nearest] - y;
  if (kind == Kind::kGaussianPdf) {
    constexpr double kLogSqrtTwoPi = 0.91893853320467274178;
    const double z = delta / sigma;
    const double log_scale = -0.5 * z * z - kLogSqrtTwoPi - std::log(sigma);
    block.log_scale[r] = static_cast<A>(log_scale);
    block.scale[r] = static_cast<A>(std::exp(log_scale));
  }
  const bool is_laplace = kind == Kind::kLaplace;
  const Window window = is_laplace ? laplace_window(grid, y, sigma, nearest, -kLogTail)
                                   : gaussian_window(grid, y, sigma, nearest, -kLogTail);
  // A sigma far below the distance of the labels: in float64, since the second label's share
  // depends on y beyond the digits of float32, and 1 / sigma^2 may overflow.
  constexpr int64_t kNarrow = 3;
  if (window.last - window.first < kNarrow) {
    double narrow[kNarrow];
    for (int64_t k = window.first; k <= window.last; ++k) {
      narrow[k - window.first] =
          relative_mass(kind, grid.labels[k], grid.labels[nearest], y, sigma);
    }
    return set_table(block, r, vectors, window, narrow, scratch);
  }
  block.shape[r] = is_laplace ? Shape::kLaplace : Shape::kGaussian;
  block.l_near[r] = static_cast<const A*>(grid.centred)[nearest];
  block.two_delta[r] = static_cast<A>(2 * delta);
  block.neg_inverse[r] = static_cast<A>(is_laplace ? -1 / sigma : -0.5 / (sigma * sigma));
  set_window(block, r, vectors, window);
}

// What a row's sigma says about its Gaussian, for H rows.
template <int H>
struct Width {
  using D = Vector<double, H>;
  D neg_inverse;  // -1 / (2 sigma^2)
  D span;         // labels on either side of y that may have mass
  decltype(D{} < D{}) is_ordinary;

  // Ordinary is from half a step on, where the window has more than kNarrow labels. NaN fails every
  // comparison.
  DLDL_FAST_MEMBER Width(const LabelGrid& grid, D sigma) {
    const D steps = sigma * grid.inverse_step;
    neg_inverse = -0.5 / (sigma * sigma);
    span = steps * kTailSigmas + 0.5;
    is_ordinary = (steps >= D{} + 0.5) & (steps <= D{} + 1e8);
  }
};

// The same for H Gaussian rows at once on an equally spaced grid, one lane a row, if the values of
// all of them are in order and their widths are ordinary; else false.
template <int H, class A, int W>
DLDL_FAST_INLINE bool set_ordinary_targets(Block<A, W>& block, int r0,
                                           const RowVectors<A, W>& vectors, const LossInputs& in,
                                           const Width<H>& common_width, int64_t row0) {
  using D = Vector<double, H>;
  const LabelGrid& grid = in.grid;
  const D y = load_rows<H>(in.target, row0 + r0, 0.0);
  const D weight = load_rows<H>(in.weight, row0 + r0, 1.0);
  const D zero{};
  const Width<H> width = in.sigma.data == nullptr
                             ? common_width
                             : Width<H>(grid, load_rows<H>(in.sigma, row0 + r0, 0.0));
  const auto in_order = (y >= zero + grid.labels[0]) & (y <= zero + grid.labels[grid.size - 1]) &
                        width.is_ordinary & (weight >= zero) & (weight < zero + kInfinity);
  if (!all_lanes<H>(in_order)) return false;

  // Where y lies, in labels; any label beside it serves as the nearest one here.
  const D place = (y - grid.labels[0]) * grid.inverse_step;
  const D top = zero + static_cast<double>(grid.size - 1);
  const D above = place + width.span + 1;
  const auto first = convert<Int<H>>(max(place - width.span, zero)) >> kLogLanes<W>;
  const auto end = convert<Int<H>>(above < top ? above : top) >> kLogLanes<W>;
  // As in set_window.
  const int32_t before_last = vectors.overlaps ? static_cast<int32_t>(vectors.count - 2) : -1;
  store_integers<H>(block.window_first + r0, first);
  store_integers<H>(block.window_last + r0, end - (end == before_last));
  int32_t nearest[H];
  store_integers<H>(nearest, convert<Int<H>>(place + 0.5));
  double l_near[H];
  for (int i = 0; i < H; ++i) {
    l_near[i] = grid.labels[nearest[i]];
    block.l_near[r0 + i] = static_cast<const A*>(grid.centred)[nearest[i]];
    block.status[r0 + i] = RowStatus::kUsed;
    block.shape[r0 + i] = Shape::kGaussian;
  }
  const D delta = load<H>(l_near) - y;
  store_converted<H>(block.two_delta + r0, delta + delta);
  store_converted<H>(block.neg_inverse + r0, width.neg_inverse);
  store_converted<H>(block.target + r0, y - grid.middle);
  store<H>(block.weight + r0, weight);
  return true;
}

// Sums over the labels of one row, still spread over lanes.
template <class V>
struct TargetSums {
  V mass;     // sum p
  V logits;   // sum p (x - max x); of kLikelihood sum p e
  V entropy;  // sum p log p
  V labels;   // sum p l, for histograms
};

template <class V>
DLDL_FAST_INLINE void add_target(TargetSums<V>& sums, V p, V log_p, V shifted) {
  sums.mass += p;
  sums.entropy += p * log_p;
  sums.logits += p > V{} ? p * shifted : V{};  // 0 * (-inf) counts as 0
}

// Losses and gradient factors of all rows of a block, one lane a row.
template <class A, int W>
DLDL_FAST_INLINE void finish_rows(Block<A, W>& block, const LossInputs& in, Vector<A, W> s,
                                  Vector<A, W> s_labels, const TargetSums<Vector<A, W>>& sums,
                                  bool needs_target) {
  using V = Vector<A, W>;
  const LossOptions& options = in.options;
  const V zero{}, one = zero + A(1);
  const V log_s = log(s), inverse_s = one / s;
  const bool is_likelihood = options.divergence == Divergence::kLikelihood;

  V divergence{}, total{}, scale{};
  if (needs_target) {
    V log_scale{};
    if (options.kind == Kind::kGaussianPdf && in.distribution.data == nullptr) {
      scale = load<W>(block.scale);
      log_scale = load<W>(block.log_scale);
      total = scale * sums.mass;
    } else {
      scale = one / sums.mass;
      log_scale = -log(sums.mass);
      total = one;
    }
    divergence = total * log_s - scale * sums.logits;
    if (options.divergence == Divergence::kKl) {
      divergence += scale * sums.entropy + total * log_scale;
    }
    if (is_likelihood) divergence = -(scale * inverse_s) * sums.logits;
    store<W>(block.scale, scale);
    store<W>(block.mass, sums.mass);
  }

  const V target = in.target.data != nullptr ? load<W>(block.target) : scale * sums.labels;
  const V y_hat = s_labels * inverse_s;
  const V error = y_hat - target;
  V regression{}, slope{};
  const V sign = (error > zero ? one : zero) - (error < zero ? one : zero);
  switch (options.regression) {
    case Regression::kL1:
      regression = abs(error);
      slope = sign;
      break;
    case Regression::kL2:
      regression = error * error;
      slope = error + error;
      break;
    case Regression::kSmoothL1: {
      const A beta = static_cast<A>(options.smooth_l1_beta);
      const V size = abs(error);
      const auto inside = size < zero + beta;
      regression = inside ? error * error * (A(0.5) / beta) : size - A(0.5) * beta;
      slope = inside ? error / (zero + beta) : sign;
      break;
    }
  }

  const A lambda = static_cast<A>(options.lambda), ld_weight = static_cast<A>(options.ld_weight);
  const A grad_scale = static_cast<A>(in.grad_scale);
  V loss{}, grad_softmax{}, grad_expectation{}, grad_target{};
  if (options.ld_weight != 0) {
    loss += ld_weight * divergence;
    grad_softmax = grad_scale * ld_weight * total * inverse_s;
    grad_target = grad_scale * ld_weight * scale;
    if (is_likelihood) {
      grad_softmax = -grad_scale * ld_weight * divergence * inverse_s;
      grad_target *= inverse_s;
    }
  }
  if (options.lambda != 0) {
    loss += lambda * regression;
    grad_expectation = grad_scale * lambda * slope * inverse_s;
  }
  store<W>(block.divergence, divergence);
  store<W>(block.regression, regression);
  store<W>(block.expectation, y_hat);
  store<W>(block.loss, loss);
  store<W>(block.grad_softmax, grad_softmax);
  store<W>(block.grad_expectation, grad_expectation);
  store<W>(block.grad_target, grad_target);
}

// Adds the variance of the predicted distributions; squares = sum e (l - y_hat)^2.
template <class A, int W>
DLDL_FAST_INLINE void add_variance(Block<A, W>& block, const LossInputs& in, Vector<A, W> s,
                                   Vector<A, W> squares) {
  using V = Vector<A, W>;
  const A weight = static_cast<A>(in.options.variance_weight);
  const V variance = squares / s;
  const V grad = static_cast<A>(in.grad_scale) * weight / s;
  store<W>(block.loss, V(load<W>(block.loss) + weight * variance));
  store<W>(block.grad_softmax, V(load<W>(block.grad_softmax) - grad * variance));
  store<W>(block.grad_variance, grad);
}

// log p_k = -(l_k - y)^2 / (2 sigma^2) less that of the nearest label.
struct GaussianLog {
  template <class V>
  DLDL_FAST_MEMBER V operator()(V label, V l_near, V two_delta, V neg_inverse) const {
    const V u = label - l_near;
    return u * (u + two_delta) * neg_inverse;
  }
};

// log p_k = -|l_k - y| / sigma, likewise; no label lies between y and the nearest one.
struct LaplaceLog {
  template <class V>
  DLDL_FAST_MEMBER V operator()(V label, V l_near, V two_delta, V neg_inverse) const {
    const V u = label - l_near;
    const V near_side = abs(u), far_side = abs(V(u + two_delta));
    return (far_side < near_side ? far_side : near_side) * neg_inverse;
  }
};

template <class V>
DLDL_FAST_INLINE V density_mass(V log_p) {
  return log_p < static_cast<float>(kLogTail) ? V{} : exp_in_range(log_p);
}

// Whatever the row's other values are: nothing where it is left out, NaN where it is bad.
template <class T, class A, int W>
DLDL_FAST_INLINE void replace_row(Block<A, W>& block, int r, T* grad, int64_t n_labels) {
  const A nan = static_cast<A>(__builtin_nan(""));
  const A fill = block.status[r] == RowStatus::kIgnored ? A(0) : nan;
  block.loss[r] = block.divergence[r] = block.regression[r] = fill;
  if (block.status[r] == RowStatus::kIgnored) block.expectation[r] = nan;
  if (grad == nullptr) return;
  for (int64_t k = 0; k < n_labels; ++k) store<1>(grad + k, fill);
}

// Eq. 1 to the letter can have no mass at all on the grid: nothing to learn from.
template <class A, int W>
DLDL_FAST_INLINE void check_underflow(Block<A, W>& block, const LossInputs& in, int64_t row0,
                                      ChunkResult& result) {
  for (int r = 0; r < block.rows; ++r) {
    if (block.status[r] != RowStatus::kUsed || block.scale[r] * block.mass[r] != 0) continue;
    block.status[r] = RowStatus::kBad;
    note(result, row0 + r, BadValue::kUnderflow, in.target[row0 + r]);
  }
}

template <class A, int W>
DLDL_FAST_INLINE void write_terms(const Block<A, W>& block, double middle, const LossOutputs& out,
                                  int64_t row0) {
  double* divergence = out.terms + row0;
  double* regression = divergence + out.n_rows;
  double* expectation = regression + out.n_rows;
  for (int r = 0; r < block.rows; ++r) {
    divergence[r] = static_cast<double>(block.divergence[r]);
    regression[r] = static_cast<double>(block.regression[r]);
    expectation[r] = middle + static_cast<double>(block.expectation[r]);
  }
}

}  // namespace
}  // namespace dldl_fast::DLDL_FAST_ISA
