// Rows of few labels: W rows in the lanes of a vector, one label after the other. The tiles of W x
// W logits are transposed on their way in and out; sums over labels need no reduction of lanes
// then.
#pragma once

#include "cpu/loss_block.h"

namespace dldl_fast::DLDL_FAST_ISA {
namespace {

// Up to here evaluating the Gaussian at every label costs less than finding out where it has mass.
constexpr int64_t kMaxShort = 48;

// Calls f(first label) for tiles of W labels that cover the row; the last one ends with the row and
// overlaps its predecessor.
template <int W, class F>
DLDL_FAST_INLINE void for_tiles(int64_t n_labels, const F& f) {
  int64_t k = 0;
  for (; k + W <= n_labels; k += W) f(k);
  if (k < n_labels) f(n_labels - W);
}

// A full block of rows for which set_ordinary_targets holds; `x` and `p` have room for W rows.
template <class T, class A, int W>
DLDL_FAST_OUTLINE void short_rows(Block<A, W>& block, const LossInputs& in, int64_t row0, A* x,
                                  A* p, T* grad) {
  using V = Vector<A, W>;
  const int64_t n_labels = in.grid.size;
  const A* labels = static_cast<const A*>(in.grid.centred);
  const T* logits = row_of<T>(in.logits, in.row_stride, row0);
  V max_logit = broadcast<A, W>(static_cast<A>(-kInfinity));
  for_tiles<W>(n_labels, [&](int64_t k) DLDL_FAST_LAMBDA {
    V tile[W];
    for (int r = 0; r < W; ++r) tile[r] = load<W>(logits + r * in.row_stride + k);
    Transpose<W>::square(tile);
    for (int j = 0; j < W; ++j) {
      store<W>(x + (k + j) * W, tile[j]);
      max_logit = max(max_logit, tile[j]);
    }
  });

  const V l_near = load<W>(block.l_near), two_delta = load<W>(block.two_delta);
  const V neg_inverse = load<W>(block.neg_inverse);
  V s{}, s_labels{};
  TargetSums<V> sums{V{}, V{}, V{}, V{}};
  for (int64_t k = 0; k < n_labels; ++k) {
    const V shifted = load<W>(x + k * W) - max_logit;
    const V e = exp(shifted);
    store<W>(x + k * W, e);
    s += e;
    s_labels += e * labels[k];
    const V log_p = GaussianLog{}(broadcast<A, W>(labels[k]), l_near, two_delta, neg_inverse);
    const V mass = density_mass(log_p);
    store<W>(p + k * W, mass);
    add_target<V>(sums, mass, log_p, shifted);
  }
  finish_rows(block, in, s, s_labels, sums, true);

  if (grad == nullptr) return;
  const V b = load<W>(block.grad_expectation), c = load<W>(block.grad_target);
  const V a = load<W>(block.grad_softmax) - b * load<W>(block.expectation);
  for_tiles<W>(n_labels, [&](int64_t k) DLDL_FAST_LAMBDA {
    V tile[W];
    for (int j = 0; j < W; ++j) {
      const V e = load<W>(x + (k + j) * W), mass = load<W>(p + (k + j) * W);
      tile[j] = e * (a + b * labels[k + j]) - c * mass;
    }
    Transpose<W>::square(tile);
    for (int r = 0; r < W; ++r) store<W>(grad + r * n_labels + k, tile[r]);
  });
}

}  // namespace
}  // namespace dldl_fast::DLDL_FAST_ISA
