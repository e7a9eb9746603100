// From the sums over a row's labels to its loss and the factors of its gradient.
//
// With d_k = x_k - max x, e_k = exp d_k, s = sum e_k, P = sum p_k and the scale c that makes p a
// distribution (1 / P; a constant for gaussian_pdf), S = c P:
//   D   = ln 2 (c sum p log2 p + S (log2 c + log2 s)) - c sum p d       Eq. 9, KL
//   dx_k = e_k / s (w_ld S + lambda rho' (l_k - y_hat)) - w_ld c p_k    Eq. 17
// The likelihood is D = -Q with Q = c sum p e / s, and has w_ld (Q - c p_k) e_k / s in the place of
// w_ld (S e_k / s - c p_k). A variance V adds w_v ((l_k - y_hat)^2 - V) e_k / s.
#pragma once

#include "cuda/target_distribution.cuh"

namespace dldl_fast::cuda {

// Whether the settings take the kernels that are compiled with kExtended: the policies of other
// methods than DLDL-v2, which would cost its kernels registers and time.
__host__ __device__ inline bool is_extended(const LossOptions& options) {
  return options.kind == Kind::kLaplace || options.divergence == Divergence::kLikelihood ||
         options.variance_weight != 0;
}

template <class A>
struct RowSums {
  A exponentials = 0;   // s
  A labels = 0;         // sum e l
  A mass = 0;           // P
  A logits = 0;         // sum p d; of kLikelihood sum p e
  A entropy = 0;        // sum p log2 p
  A target_labels = 0;  // sum p l, of histograms
  A squares = 0;        // sum e (l - y_hat)^2, where the variance has a weight
};

template <class A>
__device__ __forceinline__ void add_mass(RowSums<A>& sums, A p, A log_p_p, A d) {
  sums.mass += p;
  sums.entropy += log_p_p;
  sums.logits += p * d;
}

// Calls f(sum) for every sum that is in use.
template <class A, class F>
__device__ __forceinline__ void for_sums(RowSums<A>& sums, bool has_target, bool needs_target,
                                         const F& f) {
  f(sums.exponentials);
  f(sums.labels);
  if (needs_target) {
    f(sums.mass);
    f(sums.logits);
    f(sums.entropy);
    if (!has_target) f(sums.target_labels);
  }
}

template <class A>
struct RowLoss {
  A divergence = 0;
  A regression = 0;
  A expectation = 0;  // relative to the middle of the grid
  A loss = 0;
  // dx_k = e_k (grad_softmax + grad_label l_k + grad_square (l_k - y_hat)^2) - grad_target p_k; the
  // last term has a factor e_k where `is_likelihood`
  A grad_softmax = 0, grad_label = 0, grad_square = 0, grad_target = 0;
};

// The numbers of LossOptions in the accumulation type.
template <class A>
struct Coefficients {
  A lambda, ld_weight, variance_weight, beta, inverse_beta, grad_scale;

  explicit Coefficients(const LossInputs& in)
      : lambda(static_cast<A>(in.options.lambda)),
        ld_weight(static_cast<A>(in.options.ld_weight)),
        variance_weight(static_cast<A>(in.options.variance_weight)),
        beta(static_cast<A>(in.options.smooth_l1_beta)),
        inverse_beta(static_cast<A>(1 / in.options.smooth_l1_beta)),
        grad_scale(static_cast<A>(in.grad_scale)) {}
};

__host__ __device__ inline bool needs_target_distribution(const LossInputs& in,
                                                          const LossOutputs& out) {
  return in.options.ld_weight != 0 || out.terms != nullptr ||
         (in.target.data == nullptr && in.options.lambda != 0) ||
         in.options.kind == Kind::kGaussianPdf;
}

// Eq. 11 and its derivative by the error.
template <class A>
__device__ __forceinline__ void penalty(Regression regression, const Coefficients<A>& by, A error,
                                        A& value, A& slope) {
  const A size = error < 0 ? -error : error;
  // NaN where the error is: a comparison would make it 0.
  const A sign = error > 0 ? A(1) : error < 0 ? A(-1) : error;
  value = size;
  slope = sign;
  if (regression == Regression::kL2) {
    value = error * error;
    slope = error + error;
  } else if (regression == Regression::kSmoothL1) {
    slope = error * by.inverse_beta;
    value = A(0.5) * error * slope;
    if (size >= by.beta) {
      slope = sign;
      value = size - A(0.5) * by.beta;
    }
  }
}

template <bool kExtended>
__device__ __forceinline__ bool is_likelihood(const LossOptions& options) {
  return kExtended && options.divergence == Divergence::kLikelihood;
}

// `target` may become bad: Eq. 1 to the letter can have no mass at all on the grid.
template <bool kExtended, class A>
__device__ __forceinline__ RowLoss<A> finish_row(const LossInputs& in, const Coefficients<A>& by,
                                                 const RowTarget<A>& target, const RowSums<A>& sums,
                                                 bool needs_target, RowStatus& status) {
  const LossOptions& options = in.options;
  RowLoss<A> row;
  const A inverse_sum = reciprocal(sums.exponentials);
  A total = 0, scale = 0;
  if (needs_target) {
    const bool is_pdf = options.kind == Kind::kGaussianPdf && in.distribution.data == nullptr;
    const A entropy = target.shape == Shape::kPoints ? target.entropy : sums.entropy;
    scale = is_pdf ? target.scale : reciprocal(sums.mass);
    total = is_pdf ? scale * sums.mass : A(1);
    const A log_scale = is_pdf ? target.log_scale : -log_2(sums.mass);
    if (is_pdf && total == 0 && status == RowStatus::kUsed) status = RowStatus::kBad;
    A bits = total * log_2(sums.exponentials);
    if (options.divergence == Divergence::kKl) bits += scale * entropy + total * log_scale;
    row.divergence = static_cast<A>(kLn2) * bits - scale * sums.logits;
    if (is_likelihood<kExtended>(options)) row.divergence = -(scale * inverse_sum) * sums.logits;
  }
  const A wanted = in.target.data != nullptr ? target.target : scale * sums.target_labels;
  row.expectation = sums.labels * inverse_sum;
  A slope;
  penalty(options.regression, by, row.expectation - wanted, row.regression, slope);

  if (by.ld_weight != 0) {
    row.loss += by.ld_weight * row.divergence;
    row.grad_softmax = by.grad_scale * by.ld_weight * total * inverse_sum;
    row.grad_target = by.grad_scale * by.ld_weight * scale;
    if (is_likelihood<kExtended>(options)) {
      row.grad_softmax = -by.grad_scale * by.ld_weight * row.divergence * inverse_sum;
      row.grad_target *= inverse_sum;
    }
  }
  if (by.lambda != 0) {
    row.loss += by.lambda * row.regression;
    row.grad_label = by.grad_scale * by.lambda * slope * inverse_sum;
    row.grad_softmax -= row.grad_label * row.expectation;
  }
  if (kExtended && by.variance_weight != 0) {
    const A variance = sums.squares * inverse_sum;
    row.loss += by.variance_weight * variance;
    row.grad_square = by.grad_scale * by.variance_weight * inverse_sum;
    row.grad_softmax -= row.grad_square * variance;
  }
  if (status != RowStatus::kUsed) {
    // Whatever the row's other values are: nothing where it is left out, NaN where it is bad.
    const A fill = status == RowStatus::kIgnored ? A(0) : not_a_number<A>();
    row.loss = row.divergence = row.regression = fill;
    if (status == RowStatus::kIgnored) row.expectation = not_a_number<A>();
  }
  return row;
}

// What a row brings to the reductions.
template <class A>
struct Share {
  A loss;
  A weight;
};

// What one thread of a row writes.
template <class A>
__device__ __forceinline__ void write_row(const LossInputs& in, const LossOutputs& out, int64_t i,
                                          const RowLoss<A>& row, A weight, Share<A>& share) {
  // A row of weight 0 is left out, also where its loss is inf or NaN.
  share = {weight == 0 ? A(0) : weight * row.loss, weight};
  if (in.options.reduction == Reduction::kNone) static_cast<A*>(out.loss)[i] = share.loss;
  if (out.terms != nullptr) {
    const int64_t n = in.logits.n_rows;
    out.terms[i] = row.divergence;
    out.terms[n + i] = row.regression;
    out.terms[2 * n + i] = ends_of(in.grid).middle + static_cast<double>(row.expectation);
  }
}

// The block's part of a reduction, which `reduce_loss` adds up; called by the first warp.
template <class A>
__device__ inline void write_shares(const LossInputs& in, const LossOutputs& out,
                                    const Share<A>* shares, int count) {
  const int thread = static_cast<int>(threadIdx.x);
  if (in.options.reduction == Reduction::kNone) {
    if (thread == 0 && blockIdx.x == 0 && out.scale != nullptr) *out.scale = 1 / in.grad_scale;
    return;
  }
  double loss = 0, weight = 0;
#pragma unroll 1
  for (int r = thread; r < count; r += kWarp) {
    loss += static_cast<double>(shares[r].loss);
    weight += static_cast<double>(shares[r].weight);
  }
  loss = group_sum<kWarp>(loss);
  weight = group_sum<kWarp>(weight);
  if (thread > 0) return;
  out.workspace[2 * static_cast<int64_t>(blockIdx.x)] = loss;
  out.workspace[2 * static_cast<int64_t>(blockIdx.x) + 1] = weight;
}

}  // namespace dldl_fast::cuda
