// The loss of a range of rows and its gradient, in blocks of up to W rows. Per row: the largest
// logit; the exponentials and their sums; the target distribution inside its window and its sums.
// Sums of a block's rows are transposed into vectors of row scalars, where one vector operation
// finishes the losses of all rows; then the gradient is written, row by row.
//
// With e_k = exp(x_k - max x), s = sum e, P = sum p_k and the scale c that makes p a distribution
// (1 / P; a constant for kGaussianPdf), S = c P:
//   D   = c (sum p log p - sum p (x - max x)) + S (log c + log s)          Eq. 9, KL
//   dx_k = e_k / s (w_ld S + lambda rho' (l_k - y_hat)) - w_ld c p_k       Eq. 17
#pragma once

#include "cpu/row_checks.h"
#include "cpu/target_distribution.h"

namespace dldl_fast::DLDL_FAST_ISA {
namespace {

// How the target distribution of a row is computed.
enum class Shape {
  kNone,       // not needed
  kVectors,    // a Gaussian, by vectors: log p_k = neg_inverse u (u + two_delta), u = l_k - l_near
  kTabulated,  // already in the scratch row
  kGiven,      // the caller's histogram
};

template <class A, int W>
struct Block {
  int rows;
  RowStatus status[W];
  Shape shape[W];
  // First and last vector that has target mass.
  int64_t window_first[W];
  int64_t window_last[W];
  A l_near[W], two_delta[W], neg_inverse[W];  // of Shape::kVectors
  A tabulated_entropy[W];                     // sum p log p of Shape::kTabulated
  A target[W];                                // relative to the middle of the grid
  A scale[W], log_scale[W];                   // c and log c of kGaussianPdf
  double weight[W];
  double histogram_scale[W];  // 1 / sum of Shape::kGiven
  // Row scalars, one lane a row, as vectors become them.
  A max[W], divergence[W], regression[W], expectation[W], loss[W];
  A grad_softmax[W], grad_expectation[W], grad_target[W];
};

template <class A, int W>
DLDL_FAST_INLINE void set_window(Block<A, W>& block, int r, const RowVectors<A, W>& vectors,
                                 Window window) {
  int64_t last = window.last / W;
  // Where the last vector overlaps its predecessor it is written after it: both, or none.
  if (last == vectors.count - 2 && vectors.overlaps) ++last;
  block.window_first[r] = window.first / W;
  block.window_last[r] = last;
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
    block.window_last[r] = vectors.count - 1;
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
    return set_bins(block, r, vectors, grid, y, sigma, nearest, scratch);
  }
  const double delta = grid.labels[nearest] - y;
  const double inverse = 0.5 / (sigma * sigma);
  if (kind == Kind::kGaussianPdf) {
    constexpr double kLogSqrtTwoPi = 0.91893853320467274178;
    const double z = delta / sigma;
    const double log_scale = -0.5 * z * z - kLogSqrtTwoPi - std::log(sigma);
    block.log_scale[r] = static_cast<A>(log_scale);
    block.scale[r] = static_cast<A>(std::exp(log_scale));
  }
  const Window window = gaussian_window(grid, y, sigma, nearest, -kLogTail);
  // A sigma far below the distance of the labels: in float64, since the second label's share
  // depends on y beyond the digits of float32, and 1 / sigma^2 may overflow.
  constexpr int64_t kNarrow = 3;
  if (window.last - window.first < kNarrow) {
    double narrow[kNarrow];
    for (int64_t k = window.first; k <= window.last; ++k) {
      const double u = grid.labels[k] - grid.labels[nearest];
      const double excess = u * (u + 2 * delta);
      const double mass = excess == 0 ? 1 : std::exp(-excess / (2 * sigma * sigma));
      narrow[k - window.first] = mass < kTail ? 0 : mass;
    }
    return set_table(block, r, vectors, window, narrow, scratch);
  }
  block.shape[r] = Shape::kVectors;
  block.l_near[r] = static_cast<const A*>(grid.centred)[nearest];
  block.two_delta[r] = static_cast<A>(2 * delta);
  block.neg_inverse[r] = static_cast<A>(-inverse);
  set_window(block, r, vectors, window);
}

// The same for H Gaussian rows at once on an equally spaced grid, one lane a row, if the values of
// all of them are in order and sigma is of the size of the step or above; else false.
template <int H, class A, int W>
DLDL_FAST_INLINE bool set_ordinary_targets(Block<A, W>& block, int r0,
                                           const RowVectors<A, W>& vectors, const LossInputs& in,
                                           int64_t row0) {
  using D = Vector<double, H>;
  const LabelGrid& grid = in.grid;
  const D y = load_rows<H>(in.target, row0 + r0, 0.0);
  const D sigma = load_rows<H>(in.sigma, row0 + r0, in.sigma_number);
  const D weight = load_rows<H>(in.weight, row0 + r0, 1.0);
  const D zero{}, first = zero + grid.labels[0], last = zero + grid.labels[grid.size - 1];
  // From half a step on the window has more than kNarrow labels. NaN fails every comparison.
  const D steps = sigma * grid.inverse_step;
  const auto in_order = (y >= first) & (y <= last) & (steps >= zero + 0.5) & (steps <= zero + 1e8) &
                        (weight >= zero) & (weight < zero + kInfinity);
  if (!all_lanes<H>(in_order)) return false;

  // Where y lies, in labels; any label beside it serves as the nearest one here.
  const D place = (y - first) * grid.inverse_step;
  const D span = steps * kTailSigmas + 0.5;
  const D top = zero + static_cast<double>(grid.size - 1);
  const D above = place + span + 1;
  int32_t nearest[H], low[H], high[H];
  store_truncated<H>(nearest, place + 0.5);
  store_truncated<H>(low, max(place - span, zero));
  store_truncated<H>(high, above < top ? above : top);
  double l_near[H];
  for (int i = 0; i < H; ++i) {
    l_near[i] = grid.labels[nearest[i]];
    block.l_near[r0 + i] = static_cast<const A*>(grid.centred)[nearest[i]];
    block.status[r0 + i] = RowStatus::kUsed;
    block.shape[r0 + i] = Shape::kVectors;
    set_window(block, r0 + i, vectors, Window{low[i], high[i]});
  }
  const D delta = load<H>(l_near) - y;
  store_converted<H>(block.two_delta + r0, delta + delta);
  store_converted<H>(block.neg_inverse + r0, -0.5 / (sigma * sigma));
  store_converted<H>(block.target + r0, y - grid.middle);
  store<H>(block.weight + r0, weight);
  return true;
}

// Sums over the labels of one row, still spread over lanes.
template <class V>
struct TargetSums {
  V mass;     // sum p
  V logits;   // sum p (x - max x)
  V entropy;  // sum p log p
  V labels;   // sum p l, for histograms
};

template <class V>
DLDL_FAST_INLINE void add_target(TargetSums<V>& sums, V p, V log_p, V shifted) {
  sums.mass += p;
  sums.entropy += p * log_p;
  sums.logits += p > V{} ? p * shifted : V{};  // 0 * (-inf) counts as 0
}

// Calls f(vector's first label, its mask of lanes that no other vector has) for the row's window.
template <class A, int W, class F>
DLDL_FAST_INLINE void for_window(const Block<A, W>& block, int r, const RowVectors<A, W>& vectors,
                                 const F& f) {
  const int64_t last = vectors.count - 1, end = block.window_last[r];
  const int64_t full_end = end < last ? end : last - 1;
  for (int64_t v = block.window_first[r]; v <= full_end; ++v) f(v * W, Vector<A, W>{} + A(1));
  if (end == last) f(vectors.size - W, vectors.last_fresh);
}

// log p_k = -(l_k - y)^2 / (2 sigma^2) less that of the nearest label.
template <class A, int W>
DLDL_FAST_INLINE TargetSums<Vector<A, W>> sum_gaussian(const Block<A, W>& block, int r,
                                                       const RowVectors<A, W>& vectors,
                                                       const A* labels, const A* x, A max_logit,
                                                       A* p_row) {
  using V = Vector<A, W>;
  TargetSums<V> sums{V{}, V{}, V{}, V{}};
  const V l_near = broadcast<A, W>(block.l_near[r]),
          two_delta = broadcast<A, W>(block.two_delta[r]);
  const V neg_inverse = broadcast<A, W>(block.neg_inverse[r]), shift = broadcast<A, W>(max_logit);
  for_window(block, r, vectors, [&](int64_t k, V fresh) DLDL_FAST_LAMBDA {
    const V u = load<W>(labels + k) - l_near;
    const V log_p = u * (u + two_delta) * neg_inverse;
    const V p = log_p < static_cast<A>(kLogTail) ? V{} : exp(log_p);
    store<W>(p_row + k, p);
    add_target<V>(sums, p * fresh, log_p, load<W>(x + k) - shift);
  });
  return sums;
}

template <class A, int W>
DLDL_FAST_INLINE TargetSums<Vector<A, W>> sum_table(const Block<A, W>& block, int r,
                                                    const RowVectors<A, W>& vectors, const A* x,
                                                    A max_logit, const A* p_row) {
  using V = Vector<A, W>;
  TargetSums<V> sums{V{}, V{}, V{}, V{}};
  for_window(block, r, vectors, [&](int64_t k, V fresh) DLDL_FAST_LAMBDA {
    add_target<V>(sums, load<W>(p_row + k) * fresh, V{}, load<W>(x + k) - max_logit);
  });
  sums.entropy = iota<A, W>() < A(1) ? V{} + block.tabulated_entropy[r] : V{};
  return sums;
}

template <class A, int W, class D>
DLDL_FAST_INLINE TargetSums<Vector<A, W>> sum_histogram(const Block<A, W>& block, int r,
                                                        const RowVectors<A, W>& vectors,
                                                        const A* labels, const A* x, A max_logit,
                                                        const D* histogram, A* p_row) {
  using V = Vector<A, W>;
  // Normalised before it is rounded to the accumulation type: counts may have any scale.
  const double scale = block.histogram_scale[r];
  TargetSums<V> sums{V{}, V{}, V{}, V{}};
  for_window(block, r, vectors, [&](int64_t k, V fresh) DLDL_FAST_LAMBDA {
    const V p = load_scaled<A, W>(histogram + k, scale);
    store<W>(p_row + k, p);
    // Only normal numbers have a logarithm here; below them p log p is nothing.
    const V log_p = log(p < A(1e-37) ? V{} + A(1) : p);
    add_target<V>(sums, p * fresh, log_p, load<W>(x + k) - max_logit);
    sums.labels += p * fresh * load<W>(labels + k);
  });
  return sums;
}

template <class A, int W>
DLDL_FAST_INLINE TargetSums<Vector<A, W>> sum_target(const Block<A, W>& block, int r,
                                                     const RowVectors<A, W>& vectors,
                                                     const LossInputs& in, int64_t row, const A* x,
                                                     A max_logit, A* p_row) {
  using V = Vector<A, W>;
  const A* labels = static_cast<const A*>(in.grid.centred);
  const RowValues& given = in.distribution;
  const int64_t offset = row * in.grid.size;
  switch (block.shape[r]) {
    case Shape::kVectors:
      return sum_gaussian(block, r, vectors, labels, x, max_logit, p_row);
    case Shape::kTabulated:
      return sum_table(block, r, vectors, x, max_logit, p_row);
    case Shape::kGiven:
      return given.is_double ? sum_histogram(block, r, vectors, labels, x, max_logit,
                                             static_cast<const double*>(given.data) + offset, p_row)
                             : sum_histogram(block, r, vectors, labels, x, max_logit,
                                             static_cast<const float*>(given.data) + offset, p_row);
    case Shape::kNone:
      break;
  }
  return {V{}, V{}, V{}, V{}};
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
    store<W>(block.scale, scale);
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

// dx_k = e_k (grad_softmax + grad_expectation (l_k - y_hat)) - grad_target p_k
template <class T, class A, int W>
DLDL_FAST_INLINE void write_gradient(const Block<A, W>& block, int r,
                                     const RowVectors<A, W>& vectors, const A* labels, const A* e,
                                     const A* p, T* grad) {
  using V = Vector<A, W>;
  const A y_hat = block.expectation[r];
  const V a = broadcast<A, W>(block.grad_softmax[r]),
          b = broadcast<A, W>(block.grad_expectation[r]);
  const V c = broadcast<A, W>(block.grad_target[r]);
  const bool has_target = block.shape[r] != Shape::kNone;
  const int64_t first = has_target ? block.window_first[r] : vectors.count;
  const int64_t last = has_target ? block.window_last[r] : -1;
  const V y_hats = broadcast<A, W>(y_hat);
  const auto softmax_part = [&](int64_t k) DLDL_FAST_LAMBDA {
    return load<W>(e + k) * (a + b * (load<W>(labels + k) - y_hats));
  };
  const int64_t full = vectors.count - 1, k_last = vectors.begin(full);
  int64_t v = 0;
  for (; v < first && v < full; ++v) store<W>(grad + v * W, softmax_part(v * W));
  for (; v <= last && v < full; ++v) {
    store<W>(grad + v * W, V(softmax_part(v * W) - c * load<W>(p + v * W)));
  }
  for (; v < full; ++v) store<W>(grad + v * W, softmax_part(v * W));
  V end = softmax_part(k_last);
  if (last >= full) end -= c * load<W>(p + k_last);
  store<W>(grad + k_last, end);
}

template <class T>
DLDL_FAST_INLINE const T* row_of(const void* logits, int64_t stride, int64_t row) {
  return static_cast<const T*>(logits) + row * stride;
}

// The row's logits in the accumulation type: in place, or converted into `scratch`.
template <class A, int W, class T>
DLDL_FAST_INLINE const A* converted(const T* x, const RowVectors<A, W>& vectors, A* scratch) {
  for (int64_t v = 0; v < vectors.count; ++v) {
    const int64_t k = vectors.begin(v);
    store<W>(scratch + k, load<W>(x + k));
  }
  return scratch;
}
template <class A, int W>
DLDL_FAST_INLINE const A* converted(const A* x, const RowVectors<A, W>&, A*) {
  return x;
}

template <class A, int W>
DLDL_FAST_INLINE Vector<A, W> largest(const A* x, const RowVectors<A, W>& vectors) {
  Vector<A, W> m = broadcast<A, W>(static_cast<A>(-kInfinity));
  const int64_t full = vectors.count - 1;
  for (int64_t v = 0; v < full; ++v) m = max(m, load<W>(x + v * W));
  return max(m, load<W>(x + vectors.begin(full)));
}

// e_k = exp(x_k - max x) into `e`; returns sum e and sum e l over lanes.
template <class A, int W>
DLDL_FAST_INLINE void sum_exponentials(const A* x, A max_logit, const A* labels,
                                       const RowVectors<A, W>& vectors, A* e, Vector<A, W>& sum,
                                       Vector<A, W>& sum_labels) {
  using V = Vector<A, W>;
  const int64_t full = vectors.count - 1, k = vectors.begin(full);
  // The last vector first: `e` may be `x`, and its predecessor's results would be in its lanes.
  const V last = exp(V(load<W>(x + k) - max_logit));
  const V fresh = last * vectors.last_fresh;
  V s = fresh, s_labels = fresh * load<W>(labels + k);
  for (int64_t v = 0; v < full; ++v) {
    const V value = exp(V(load<W>(x + v * W) - max_logit));
    store<W>(e + v * W, value);
    s += value;
    s_labels += value * load<W>(labels + v * W);
  }
  store<W>(e + k, last);
  sum = s;
  sum_labels = s_labels;
}

// Scratch of a block: per row the exponentials, then per row the target distribution.
template <class A>
struct Scratch {
  A* memory;
  int64_t stride;
  int rows;
  DLDL_FAST_MEMBER A* exponentials(int r) const { return memory + r * stride; }
  DLDL_FAST_MEMBER A* target(int r) const { return memory + (rows + r) * stride; }
};

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
                                      Vector<A, W> mass, ChunkResult& result) {
  A masses[W];
  store<W>(masses, mass);
  for (int r = 0; r < block.rows; ++r) {
    if (block.status[r] != RowStatus::kUsed || block.scale[r] * masses[r] != 0) continue;
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

template <class T, class A, int W>
ChunkResult loss_rows(const LossInputs& in, const LossOutputs& out, int64_t begin, int64_t end,
                      void* memory) {
  using V = Vector<A, W>;
  const int64_t n_labels = in.grid.size;
  const A* labels = static_cast<const A*>(in.grid.centred);
  const RowVectors<A, W> vectors(n_labels);
  const int step = rows_per_block<A, W>(n_labels);
  const Scratch<A> scratch{static_cast<A*>(memory), padded(n_labels), step};
  const bool needs_target = in.options.ld_weight != 0 || out.terms != nullptr ||
                            (in.target.data == nullptr && in.options.lambda != 0) ||
                            in.options.kind == Kind::kGaussianPdf;
  // The common case, whose rows are prepared together. H doubles are as wide as W floats.
  constexpr int H = W > 1 ? W / 2 : 1;
  const bool gaussian = needs_target && in.options.kind == Kind::kGaussian &&
                        in.distribution.data == nullptr && in.grid.inverse_step > 0;
  T* grad = static_cast<T*>(out.grad);
  ChunkResult result;
  Block<A, W> block{};
  Vector<double, H> loss_lanes{}, weight_lanes{};

  for (int64_t row0 = begin; row0 < end; row0 += step) {
    block.rows = static_cast<int>(end - row0 < step ? end - row0 : step);
    for (int r = 0; r < block.rows;) {
      if constexpr (W > 1) {
        if (gaussian && r % H == 0 && r + H <= block.rows &&
            set_ordinary_targets<H>(block, r, vectors, in, row0)) {
          r += H;
          continue;
        }
      }
      const Row row = check_row(in, row0 + r, result);
      set_target(block, r, vectors, in, row, needs_target, scratch.target(r));
      ++r;
    }
    V maxima[W], s[W], s_labels[W], mass[W], logits[W], entropy[W], target_labels[W];
    const A* x[W];
    for (int r = block.rows; r < W; ++r) {
      maxima[r] = s[r] = s_labels[r] = mass[r] = logits[r] = entropy[r] = target_labels[r] = V{};
      block.weight[r] = 0;
    }
    for (int r = 0; r < block.rows; ++r) {
      x[r] = converted<A, W>(row_of<T>(in.logits, in.row_stride, row0 + r), vectors,
                             scratch.exponentials(r));
      maxima[r] = largest(x[r], vectors);
    }
    store<W>(block.max, V(Transpose<W>::reduce(maxima, Max{})));
    for (int r = 0; r < block.rows; ++r) {
      const auto sums =
          sum_target(block, r, vectors, in, row0 + r, x[r], block.max[r], scratch.target(r));
      mass[r] = sums.mass;
      logits[r] = sums.logits;
      entropy[r] = sums.entropy;
      target_labels[r] = sums.labels;
      sum_exponentials(x[r], block.max[r], labels, vectors, scratch.exponentials(r), s[r],
                       s_labels[r]);
    }
    TargetSums<V> sums{};
    if (needs_target) {
      sums.mass = Transpose<W>::reduce(mass, Add{});
      sums.logits = Transpose<W>::reduce(logits, Add{});
      sums.entropy = Transpose<W>::reduce(entropy, Add{});
      if (in.target.data == nullptr) sums.labels = Transpose<W>::reduce(target_labels, Add{});
    }
    finish_rows(block, in, V(Transpose<W>::reduce(s, Add{})),
                V(Transpose<W>::reduce(s_labels, Add{})), sums, needs_target);
    if (in.options.kind == Kind::kGaussianPdf && in.distribution.data == nullptr) {
      check_underflow(block, in, row0, sums.mass, result);
    }

    if (grad != nullptr) {
      for (int r = 0; r < block.rows; ++r) {
        write_gradient(block, r, vectors, labels, scratch.exponentials(r), scratch.target(r),
                       grad + (row0 + r) * n_labels);
      }
    }
    for (int r = 0; r < block.rows; ++r) {
      if (block.status[r] != RowStatus::kUsed) {
        replace_row(block, r, grad == nullptr ? nullptr : grad + (row0 + r) * n_labels, n_labels);
      }
    }
    for (int r = 0; r < W; r += H) {
      const auto weight = load<H>(block.weight + r);
      const auto loss = load_as_double<H>(block.loss + r);
      // A row of weight 0 is left out, also where its loss is inf or NaN.
      const Vector<double, H> weighted = weight == Vector<double, H>{} ? weight : weight * loss;
      loss_lanes += weighted;
      weight_lanes += weight;
      store_converted<H>(block.loss + r, weighted);
    }
    if (out.loss != nullptr) {
      std::memcpy(static_cast<A*>(out.loss) + row0, block.loss, block.rows * sizeof(A));
    }
    if (out.terms != nullptr) write_terms(block, in.grid.middle, out, row0);
  }
  result.loss = lane_sum<double, H>(loss_lanes);
  result.weight = lane_sum<double, H>(weight_lanes);
  return result;
}

}  // namespace
}  // namespace dldl_fast::DLDL_FAST_ISA
