// Rows of logits with the labels in the lanes: what the loss and the expectation share.
#pragma once

#include "cpu/lanes.h"

namespace dldl_fast::DLDL_FAST_ISA {
namespace {

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
  using V = Vector<A, W>;
  const int64_t full = vectors.count - 1;
  // Two chains, so that neither the comparisons nor the loop itself bound it.
  V m = load<W>(x + vectors.begin(full)), other = m;
  int64_t v = 0;
  for (; v + 4 <= full; v += 4) {
    m = max(m, max(load<W>(x + v * W), load<W>(x + (v + 1) * W)));
    other = max(other, max(load<W>(x + (v + 2) * W), load<W>(x + (v + 3) * W)));
  }
  for (; v < full; ++v) m = max(m, load<W>(x + v * W));
  return max(m, other);
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

// sum e (l - mean)^2 over lanes.
template <class A, int W>
DLDL_FAST_INLINE Vector<A, W> sum_squares(const A* e, A mean, const A* labels,
                                          const RowVectors<A, W>& vectors) {
  Vector<A, W> sum{};
  for (int64_t v = 0; v < vectors.count; ++v) {
    const int64_t k = vectors.begin(v);
    const Vector<A, W> deviation = load<W>(labels + k) - mean;
    Vector<A, W> value = load<W>(e + k);
    if (v + 1 == vectors.count) value *= vectors.last_fresh;
    sum += value * deviation * deviation;
  }
  return sum;
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

}  // namespace
}  // namespace dldl_fast::DLDL_FAST_ISA
