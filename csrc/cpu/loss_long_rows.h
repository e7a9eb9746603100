// Rows of any length: the labels of a row in the lanes of a vector, one row after the other. Sums
// of a block's rows are transposed into vectors of row scalars, where one vector operation finishes
// the losses of all rows; then the gradient is written, row by row.
#pragma once

#include "cpu/loss_block.h"

namespace dldl_fast::DLDL_FAST_ISA {
namespace {

// Calls f(vector's first label, its mask of lanes that no other vector has) for the row's window.
template <class A, int W, class F>
DLDL_FAST_INLINE void for_window(const Block<A, W>& block, int r, const RowVectors<A, W>& vectors,
                                 const F& f) {
  const int64_t last = vectors.count - 1, end = block.window_last[r];
  const int64_t full_end = end < last ? end : last - 1;
  for (int64_t v = block.window_first[r]; v <= full_end; ++v) f(v * W, Vector<A, W>{} + A(1));
  if (end == last) f(vectors.size - W, vectors.last_fresh);
}

// log_of(label, l_near, two_delta, neg_inverse) is the log of the density.
template <class A, int W, class F>
DLDL_FAST_INLINE TargetSums<Vector<A, W>> sum_density(const Block<A, W>& block, int r,
                                                      const RowVectors<A, W>& vectors,
                                                      const A* labels, const A* x, A max_logit,
                                                      A* p_row, const F& log_of) {
  using V = Vector<A, W>;
  TargetSums<V> sums{V{}, V{}, V{}, V{}};
  const V l_near = broadcast<A, W>(block.l_near[r]),
          two_delta = broadcast<A, W>(block.two_delta[r]);
  const V neg_inverse = broadcast<A, W>(block.neg_inverse[r]), shift = broadcast<A, W>(max_logit);
  for_window(block, r, vectors, [&](int64_t k, V fresh) DLDL_FAST_LAMBDA {
    const V log_p = log_of(load<W>(labels + k), l_near, two_delta, neg_inverse);
    const V p = density_mass(log_p);
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
    case Shape::kGaussian:
      return sum_density(block, r, vectors, labels, x, max_logit, p_row, GaussianLog{});
    case Shape::kLaplace:
      return sum_density(block, r, vectors, labels, x, max_logit, p_row, LaplaceLog{});
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

// p_k e_k in the place of p_k, for kLikelihood; returns their sum.
template <class A, int W>
DLDL_FAST_INLINE Vector<A, W> multiply_target(const Block<A, W>& block, int r,
                                              const RowVectors<A, W>& vectors, const A* e, A* p) {
  using V = Vector<A, W>;
  V sum{};
  if (block.shape[r] == Shape::kNone) return sum;
  for_window(block, r, vectors, [&](int64_t k, V fresh) DLDL_FAST_LAMBDA {
    // Lanes that overlap the vector before hold products already.
    const V product = load<W>(p + k) * (fresh > V{} ? load<W>(e + k) : V{} + A(1));
    store<W>(p + k, product);
    sum += product * fresh;
  });
  return sum;
}

// dx_k = e_k (grad_softmax + grad_expectation (l_k - y_hat) + grad_variance (l_k - y_hat)^2)
//        - grad_target p_k
template <bool kHasVariance, class T, class A, int W>
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
  const V d = broadcast<A, W>(kHasVariance ? block.grad_variance[r] : A(0));
  const auto softmax_part = [&](int64_t k) DLDL_FAST_LAMBDA {
    const V u = load<W>(labels + k) - y_hats;
    if constexpr (kHasVariance) return V(load<W>(e + k) * (a + u * (b + d * u)));
    return V(load<W>(e + k) * (a + b * u));
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
DLDL_FAST_INLINE void prefetch_row(const T* row, int64_t n_labels) {
#if defined(__GNUC__)
  constexpr int64_t kCacheLine = 64 / sizeof(T);
  for (int64_t k = 0; k < n_labels; k += kCacheLine) __builtin_prefetch(row + k);
#endif
}

template <class T, class A, int W>
DLDL_FAST_OUTLINE void long_rows(Block<A, W>& block, const LossInputs& in, int64_t row0,
                                 int64_t n_ahead, bool needs_target,
                                 const RowVectors<A, W>& vectors, Scratch<A> scratch, T* grad) {
  using V = Vector<A, W>;
  const int64_t n_labels = in.grid.size;
  const A* labels = static_cast<const A*>(in.grid.centred);
  const bool is_likelihood = in.options.divergence == Divergence::kLikelihood;
  const bool has_variance = in.options.variance_weight != 0;
  V maxima[W], s[W], s_labels[W], mass[W], logits[W], entropy[W], target_labels[W];
  const A* x[W];
  for (int r = block.rows; r < W; ++r) {
    maxima[r] = s[r] = s_labels[r] = mass[r] = logits[r] = entropy[r] = target_labels[r] = V{};
  }
  for (int r = 0; r < block.rows; ++r) {
    x[r] = converted<A, W>(row_of<T>(in.logits, in.row_stride, row0 + r), vectors,
                           scratch.exponentials(r));
    maxima[r] = largest(x[r], vectors);
  }
  store<W>(block.max, V(Transpose<W>::reduce(maxima, Max{})));
  for (int r = 0; r < block.rows; ++r) {
    // Meanwhile memory fetches the next block, and the lines that this one's gradient goes to.
    if (r < n_ahead) {
      prefetch_row(row_of<T>(in.logits, in.row_stride, row0 + block.rows + r), n_labels);
      if (grad != nullptr) prefetch_row(grad + r * n_labels, n_labels);
    }
    const auto sums =
        sum_target(block, r, vectors, in, row0 + r, x[r], block.max[r], scratch.target(r));
    mass[r] = sums.mass;
    logits[r] = sums.logits;
    entropy[r] = sums.entropy;
    target_labels[r] = sums.labels;
    sum_exponentials(x[r], block.max[r], labels, vectors, scratch.exponentials(r), s[r],
                     s_labels[r]);
    if (is_likelihood) {
      logits[r] = multiply_target(block, r, vectors, scratch.exponentials(r), scratch.target(r));
    }
  }
  TargetSums<V> sums{};
  if (needs_target) {
    sums.mass = Transpose<W>::reduce(mass, Add{});
    sums.logits = Transpose<W>::reduce(logits, Add{});
    sums.entropy = Transpose<W>::reduce(entropy, Add{});
    if (in.target.data == nullptr) sums.labels = Transpose<W>::reduce(target_labels, Add{});
  }
  const V sum = Transpose<W>::reduce(s, Add{});
  finish_rows(block, in, sum, V(Transpose<W>::reduce(s_labels, Add{})), sums, needs_target);
  if (has_variance) {
    V squares[W]{};
    for (int r = 0; r < block.rows; ++r) {
      squares[r] = sum_squares(scratch.exponentials(r), block.expectation[r], labels, vectors);
    }
    add_variance(block, in, sum, V(Transpose<W>::reduce(squares, Add{})));
  }
  if (grad == nullptr) return;
  const auto write_gradients = [&](auto has_variance_too) DLDL_FAST_LAMBDA {
    for (int r = 0; r < block.rows; ++r) {
      write_gradient<has_variance_too.value>(block, r, vectors, labels, scratch.exponentials(r),
                                             scratch.target(r), grad + r * n_labels);
    }
  };
  if (has_variance) {
    write_gradients(std::true_type());
  } else {
    write_gradients(std::false_type());
  }
}

}  // namespace
}  // namespace dldl_fast::DLDL_FAST_ISA
