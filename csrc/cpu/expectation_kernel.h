// Expectation and standard deviation of softmax(logits) for a range of rows (Eq. 10), and their
// gradient: d mean / dx_k = p_k (l_k - mean), d std / dx_k = p_k ((l_k - mean)^2 - std^2) / (2
// std).
#pragma once

#include "cpu/label_distribution_loss_kernel.h"

namespace dldl_fast::DLDL_FAST_ISA {
namespace {

template <class A>
struct Moments {
  A inverse_sum;  // 1 / sum e
  A mean;         // relative to the middle of the grid
  A variance;
};

// Leaves the exponentials of the row in `e`.
template <class T, class A, int W>
DLDL_FAST_INLINE Moments<A> moments(const T* row, const A* labels, const RowVectors<A, W>& vectors,
                                    A* e) {
  using V = Vector<A, W>;
  const A* x = converted<A, W>(row, vectors, e);
  const V lane_max = largest(x, vectors);
  A lanes[W];
  std::memcpy(lanes, &lane_max, sizeof(lanes));
  A max_logit = lanes[0];
  for (int i = 1; i < W; ++i) max_logit = max(max_logit, lanes[i]);
  V s, s_labels;
  sum_exponentials(x, max_logit, labels, vectors, e, s, s_labels);
  const A inverse = A(1) / lane_sum<A, W>(s);
  const A mean = lane_sum<A, W>(s_labels) * inverse;
  V squares{};
  for (int64_t v = 0; v < vectors.count; ++v) {
    const int64_t k = vectors.begin(v);
    const V deviation = load<W>(labels + k) - mean;
    V value = load<W>(e + k);
    if (v + 1 == vectors.count) value *= vectors.last_fresh;
    squares += value * deviation * deviation;
  }
  return {inverse, mean, lane_sum<A, W>(squares) * inverse};
}

template <class T, class A, int W>
void expectation_rows(const void* logits, int64_t row_stride, const LabelGrid& grid, int64_t begin,
                      int64_t end, double* mean, double* std, void* scratch) {
  const RowVectors<A, W> vectors(grid.size);
  const A* labels = static_cast<const A*>(grid.centred);
  for (int64_t i = begin; i < end; ++i) {
    const auto m =
        moments(row_of<T>(logits, row_stride, i), labels, vectors, static_cast<A*>(scratch));
    mean[i] = grid.middle + static_cast<double>(m.mean);
    std[i] = std::sqrt(static_cast<double>(m.variance));
  }
}

template <class T, class A, int W>
void expectation_backward_rows(const void* logits, int64_t row_stride, const LabelGrid& grid,
                               int64_t begin, int64_t end, const double* grad_mean,
                               const double* grad_std, void* grad, void* scratch) {
  using V = Vector<A, W>;
  const RowVectors<A, W> vectors(grid.size);
  const A* labels = static_cast<const A*>(grid.centred);
  A* e = static_cast<A*>(scratch);
  for (int64_t i = begin; i < end; ++i) {
    const auto m = moments(row_of<T>(logits, row_stride, i), labels, vectors, e);
    const double std = std::sqrt(static_cast<double>(m.variance));
    const A linear = static_cast<A>(grad_mean[i]) * m.inverse_sum;
    // The square root has no derivative at 0: a one-hot prediction gets the sub-gradient 0.
    const A square = std == 0 ? A(0) : static_cast<A>(grad_std[i] / (2 * std)) * m.inverse_sum;
    T* row = static_cast<T*>(grad) + i * grid.size;
    for (int64_t v = 0; v < vectors.count; ++v) {
      const int64_t k = vectors.begin(v);
      const V d = load<W>(labels + k) - m.mean;
      store<W>(row + k, V(load<W>(e + k) * (linear * d + square * (d * d - m.variance))));
    }
  }
}

}  // namespace
}  // namespace dldl_fast::DLDL_FAST_ISA
