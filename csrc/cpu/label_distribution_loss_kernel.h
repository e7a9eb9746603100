// The loss of a range of rows and its gradient, in blocks of up to W rows.
//
// With e_k = exp(x_k - max x), s = sum e, P = sum p_k and the scale c that makes p a distribution
// (1 / P; a constant for kGaussianPdf), S = c P:
//   D   = c (sum p log p - sum p (x - max x)) + S (log c + log s)          Eq. 9, KL
//   dx_k = e_k / s (w_ld S + lambda rho' (l_k - y_hat)) - w_ld c p_k       Eq. 17
// The likelihood is D = -Q with Q = c sum p e / s, and has w_ld (Q - c p_k) e_k / s in the place of
// w_ld (S e_k / s - c p_k). A variance V adds w_v ((l_k - y_hat)^2 - V) e_k / s.
#pragma once

#include "cpu/loss_long_rows.h"
#include "cpu/loss_short_rows.h"

namespace dldl_fast::DLDL_FAST_ISA {
namespace {

template <class T, class A, int W>
ChunkResult loss_rows(const LossInputs& in, const LossOutputs& out, int64_t begin, int64_t end,
                      void* memory) {
  const int64_t n_labels = in.grid.size;
  const RowVectors<A, W> vectors(n_labels);
  const int step = rows_per_block<A, W>(n_labels);
  const Scratch<A> scratch{static_cast<A*>(memory), padded(n_labels), step};
  const bool is_pdf = in.options.kind == Kind::kGaussianPdf && in.distribution.data == nullptr;
  const bool needs_target = in.options.ld_weight != 0 || out.terms != nullptr || is_pdf ||
                            (in.target.data == nullptr && in.options.lambda != 0);
  const bool may_be_short = W > 1 && n_labels <= kMaxShort && in.options.variance_weight == 0 &&
                            in.options.divergence != Divergence::kLikelihood;
  // The common case, whose rows are prepared together. H doubles are as wide as W floats.
  constexpr int H = W > 1 ? W / 2 : 1;
  const bool is_gaussian = needs_target && in.options.kind == Kind::kGaussian &&
                           in.distribution.data == nullptr && in.grid.inverse_step > 0;
  const Width<H> common_width(in.grid, Vector<double, H>{} + in.sigma_number);
  ChunkResult result;
  Block<A, W> block{};
  Vector<double, H> loss_lanes{}, weight_lanes{};

  for (int64_t row0 = begin; row0 < end; row0 += step) {
    T* grad = out.grad == nullptr ? nullptr : static_cast<T*>(out.grad) + row0 * n_labels;
    block.rows = static_cast<int>(end - row0 < step ? end - row0 : step);
    for (int r = block.rows; r < W; ++r) block.weight[r] = 0;
    bool all_ordinary = W > 1 && block.rows == W;
    for (int r = 0; r < block.rows;) {
      if constexpr (W > 1) {
        if (is_gaussian && r % H == 0 && r + H <= block.rows &&
            set_ordinary_targets<H>(block, r, vectors, in, common_width, row0)) {
          r += H;
          continue;
        }
      }
      const Row row = check_row(in, row0 + r, result);
      set_target(block, r, vectors, in, row, needs_target, scratch.target(r));
      all_ordinary = false;
      ++r;
    }
    bool is_done = false;
    if constexpr (W > 1) {
      if (all_ordinary && may_be_short) {
        short_rows(block, in, row0, scratch.exponentials(0), scratch.target(0), grad);
        is_done = true;
      }
    }
    if (!is_done) {
      const int64_t n_ahead = in.exceeds_cache ? end - row0 - block.rows : 0;
      long_rows(block, in, row0, n_ahead, needs_target, vectors, scratch, grad);
    }
    if (is_pdf) check_underflow(block, in, row0, result);
    for (int r = 0; r < block.rows; ++r) {
      if (block.status[r] == RowStatus::kUsed) continue;
      replace_row(block, r, grad == nullptr ? nullptr : grad + r * n_labels, n_labels);
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
