// Expectation and standard deviation of softmax(logits) for a range of rows (Eq. 10), and their
// gradient: d mean / dx_k = p_k (l_k - mean), d std / dx_k = p_k ((l_k - mean)^2 - std^2) / (2
// std).
#pragma once

#include "cpu/softmax_rows.h"

namespace dldl_fast::DLDL_FAST_ISA {
namespace {

// Row scalars of a block, one lane a row.
template <class A, int W>
struct Moments {
  A inverse_sum[W];  // 1 / sum e
  A mean[W];         // relative to the middle of the grid
  A variance[W];
};

// Of n_rows rows from row0 on; leaves their exponentials in the scratch.
template <class T, class A, int W>
DLDL_FAST_INLINE Moments<A, W> moments(const void* logits, int64_t row_stride, const A* labels,
                                       const RowVectors<A, W>& vectors, int64_t row0, int n_rows,
                                       bool needs_variance, Scratch<A> scratch) {
  using V = Vector<A, W>;
  V maxima[W], s[W], s_labels[W], squares[W];
  const A* x[W];
  for (int r = n_rows; r < W; ++r) maxima[r] = s[r] = s_labels[r] = squares[r] = V{};
  for (int r = 0; r < n_rows; ++r) {
    x[r] =
        converted<A, W>(row_of<T>(logits, row_stride, row0 + r), vectors, scratch.exponentials(r));
    maxima[r] = largest(x[r], vectors);
  }
  A max_logit[W];
  store<W>(max_logit, V(Transpose<W>::reduce(maxima, Max{})));
  for (int r = 0; r < n_rows; ++r) {
    sum_exponentials(x[r], max_logit[r], labels, vectors, scratch.exponentials(r), s[r],
                     s_labels[r]);
  }
  Moments<A, W> m;
  const V inverse_sum = A(1) / V(Transpose<W>::reduce(s, Add{}));
  store<W>(m.inverse_sum, inverse_sum);
  store<W>(m.mean, V(V(Transpose<W>::reduce(s_labels, Add{})) * inverse_sum));
  if (!needs_variance) return m;
  for (int r = 0; r < n_rows; ++r) {
    squares[r] = sum_squares(scratch.exponentials(r), m.mean[r], labels, vectors);
  }
  store<W>(m.variance, V(V(Transpose<W>::reduce(squares, Add{})) * inverse_sum));
  return m;
}

// `std` is null where it is not wanted.
template <class T, class A, int W>
void expectation_rows(const void* logits, int64_t row_stride, const LabelGrid& grid, int64_t begin,
                      int64_t end, double* mean, double* std, void* memory) {
  const RowVectors<A, W> vectors(grid.size);
  const int step = rows_per_block<A, W>(grid.size);
  const Scratch<A> scratch{static_cast<A*>(memory), padded(grid.size), step};
  const A* labels = static_cast<const A*>(grid.centred);
  for (int64_t row0 = begin; row0 < end; row0 += step) {
    const int n_rows = static_cast<int>(end - row0 < step ? end - row0 : step);
    const auto m =
        moments<T>(logits, row_stride, labels, vectors, row0, n_rows, std != nullptr, scratch);
    for (int r = 0; r < n_rows; ++r) {
      mean[row0 + r] = grid.middle + static_cast<double>(m.mean[r]);
      if (std != nullptr) std[row0 + r] = std::sqrt(static_cast<double>(m.variance[r]));
    }
  }
}

// `grad_mean` or `grad_std` is null where that result was not used.
template <class T, class A, int W>
void expectation_backward_rows(const void* logits, int64_t row_stride, const LabelGrid& grid,
                               int64_t begin, int64_t end, const double* grad_mean,
                               const double* grad_std, void* grad, void* memory) {
  using V = Vector<A, W>;
  const RowVectors<A, W> vectors(grid.size);
  const int step = rows_per_block<A, W>(grid.size);
  const Scratch<A> scratch{static_cast<A*>(memory), padded(grid.size), step};
  const A* labels = static_cast<const A*>(grid.centred);
  for (int64_t row0 = begin; row0 < end; row0 += step) {
    const int n_rows = static_cast<int>(end - row0 < step ? end - row0 : step);
    const auto m =
        moments<T>(logits, row_stride, labels, vectors, row0, n_rows, grad_std != nullptr, scratch);
    for (int r = 0; r < n_rows; ++r) {
      const A linear =
          grad_mean == nullptr ? A(0) : static_cast<A>(grad_mean[row0 + r]) * m.inverse_sum[r];
      A square = 0, variance = 0;
      // The square root has no derivative at 0: a one-hot prediction gets the sub-gradient 0.
      if (grad_std != nullptr && m.variance[r] != 0) {
        variance = m.variance[r];
        const double std = std::sqrt(static_cast<double>(variance));
        square = static_cast<A>(grad_std[row0 + r] / (2 * std)) * m.inverse_sum[r];
      }
      const A* e = scratch.exponentials(r);
      T* row = static_cast<T*>(grad) + (row0 + r) * grid.size;
      for (int64_t v = 0; v < vectors.count; ++v) {
        const int64_t k = vectors.begin(v);
        const V d = load<W>(labels + k) - m.mean[r];
        store<W>(row + k, V(load<W>(e + k) * (linear * d + square * (d * d - variance))));
      }
    }
  }
}

}  // namespace
}  // namespace dldl_fast::DLDL_FAST_ISA
