// label_distribution_loss, label_distribution_loss_backward and scale_rows_ for CPU tensors.
#include <torch/csrc/stable/library.h>

#include <cstring>
#include <limits>
#include <string>
#include <tuple>
#include <utility>

#include "cpu/huge_pages.h"
#include "cpu/tensors.h"
#include "loss_results.h"

namespace dldl_fast {
namespace {

// Logits of that size come from memory: less than the last-level cache that a core can fill.
constexpr int64_t kCacheBytes = int64_t{4} << 20;

struct Results {
  Tensor loss;
  std::optional<Tensor> grad_logits, scale, terms;
};

void fill(Tensor scalar, double value) {
  if (scalar.scalar_type() == ScalarType::Double) {
    *scalar.mutable_data_ptr<double>() = value;
  } else {
    *scalar.mutable_data_ptr<float>() = static_cast<float>(value);
  }
}

Results run(const Tensor& given_logits, const std::optional<Tensor>& target, double sigma_number,
            const std::optional<Tensor>& sigma, const std::optional<Tensor>& weight,
            const std::optional<Tensor>& target_distribution, const Tensor& labels, double lambda,
            double ld_weight, double variance_weight, int64_t kind, int64_t divergence,
            int64_t regression, double smooth_l1_beta, int64_t reduction, int64_t out_of_range,
            bool ignore_nan, bool validate, bool return_terms, bool needs_grad) {
  const Tensor logits = with_contiguous_rows(given_logits);
  const int64_t n_rows = logits.size(0), n_labels = logits.size(1);
  STD_TORCH_CHECK(target.has_value() || target_distribution.has_value(),
                  "target or target_distribution must be given");
  const ScalarType type = accumulation_type(logits);
  const Labels grid(labels, n_labels, type == ScalarType::Double);
  const Values targets("target", target, n_rows), sigmas("sigma", sigma, n_rows);
  const Values weights("weight", weight, n_rows);
  const Values distributions("target_distribution", target_distribution, n_rows * n_labels);
  const LossOptions options{lambda,
                            ld_weight,
                            variance_weight,
                            static_cast<Kind>(kind),
                            static_cast<Divergence>(divergence),
                            static_cast<Regression>(regression),
                            smooth_l1_beta,
                            static_cast<Reduction>(reduction),
                            static_cast<OutOfRange>(out_of_range),
                            ignore_nan};
  const bool is_mean = options.reduction == Reduction::kMean;
  const double first = grid.grid().labels[0], last = grid.grid().labels[n_labels - 1];
  const GradientScale scale(options, logits.scalar_type(), weight.has_value(), n_rows,
                            last - first);
  const int64_t logits_bytes = n_rows * n_labels * static_cast<int64_t>(logits.element_size());
  const LossInputs in{logits.const_data_ptr(),
                      logits.stride(0),
                      grid.grid(),
                      targets.get(),
                      sigmas.get(),
                      sigma_number,
                      weights.get(),
                      distributions.get(),
                      options,
                      scale.now,
                      logits_bytes > kCacheBytes};

  const bool per_row = options.reduction == Reduction::kNone;
  Results results{
      per_row ? new_tensor(logits, type, {n_rows}) : new_tensor(logits, type, {}), {}, {}, {}};
  LossOutputs out{per_row ? results.loss.mutable_data_ptr() : nullptr, nullptr, nullptr, n_rows};
  if (needs_grad) {
    results.grad_logits = new_tensor(logits, logits.scalar_type(), {n_rows, n_labels});
    out.grad = results.grad_logits->mutable_data_ptr();
    prefer_huge_pages(out.grad, logits_bytes);
  }
  if (return_terms) {
    results.terms = new_tensor(logits, ScalarType::Double, {3, n_rows});
    out.terms = results.terms->mutable_data_ptr<double>();
  }

  const Kernels& kernel = kernels(storage_of("logits", logits), n_labels);
  std::vector<ChunkResult> chunks(n_rows / chunk_rows(n_labels) + 1);
  for_each_chunk(n_rows, n_labels, kernel.scratch_bytes(n_labels),
                 [&](int64_t chunk, int64_t begin, int64_t end, void* scratch) {
                   chunks[chunk] = kernel.loss(in, out, begin, end, scratch);
                 });

  double loss = 0, total = 0;
  for (const ChunkResult& chunk : chunks) {
    if (validate && chunk.bad_row >= 0) {
      throw_value_error(chunk.bad_value, chunk.value, chunk.bad_row, options, first, last);
    }
    loss += chunk.loss;
    total += chunk.weight;
  }
  if (!per_row) {
    const double divisor = !is_mean ? 1 : total;
    fill(results.loss, divisor == 0 ? 0 : loss / divisor);
  }
  if (scale.later) {
    results.scale = new_tensor(logits, ScalarType::Double, {});
    fill(*results.scale, !is_mean ? 1 / scale.now : total == 0 ? 0 : 1 / (scale.now * total));
  }
  return results;
}

double scalar_value(const Tensor& t) {
  return t.scalar_type() == ScalarType::Double ? *t.const_data_ptr<double>()
                                               : *t.const_data_ptr<float>();
}

void scale_rows(Tensor grad_logits, const Tensor& grad_loss, const std::optional<Tensor>& scale,
                const std::optional<Tensor>& weight) {
  const int64_t n_rows = grad_logits.size(0), n_labels = grad_logits.size(1);
  STD_TORCH_CHECK(grad_logits.is_contiguous(), "grad_logits must be contiguous");
  const bool per_row = grad_loss.dim() == 1;
  const Values losses("grad_loss", grad_loss, per_row ? n_rows : 1);
  const Values weights("weight", weight, n_rows);
  const RowValues grads = losses.get(), w = weights.get();
  const double common = (scale.has_value() ? scalar_value(*scale) : 1) * (per_row ? 1 : grads[0]);
  if (w.data == nullptr && !per_row && common == 1) return;

  const Kernels& kernel = kernels(storage_of("grad_logits", grad_logits), n_labels);
  char* data = static_cast<char*>(grad_logits.mutable_data_ptr());
  const int64_t row_bytes = n_labels * grad_logits.element_size();
  for_each_chunk(n_rows, n_labels, 0, [&](int64_t, int64_t begin, int64_t end, void*) {
    if (w.data == nullptr && !per_row) {
      return kernel.scale(data + begin * row_bytes, (end - begin) * n_labels, common);
    }
    for (int64_t i = begin; i < end; ++i) {
      const double row_weight = w.data == nullptr ? 1 : w[i];
      char* row = data + i * row_bytes;
      if (row_weight == 0) {
        std::memset(row, 0, row_bytes);  // left out, also where its gradient is NaN
      } else if (row_weight > 0 && row_weight <= std::numeric_limits<double>::max()) {
        // Any other weight is bad: the row holds NaN already, or the zeros of an ignored row.
        kernel.scale(row, n_labels, common * row_weight * (per_row ? grads[i] : 1));
      }
    }
  });
}

#define DLDL_FAST_LOSS_PARAMETERS                                                     \
  const Tensor &logits, const std::optional<Tensor>&target, double sigma_number,      \
      const std::optional<Tensor>&sigma, const std::optional<Tensor>&weight,          \
      const std::optional<Tensor>&target_distribution, const Tensor &labels,          \
      double /*label_step*/, double lambda, double ld_weight, double variance_weight, \
      int64_t kind, int64_t divergence, int64_t regression, double smooth_l1_beta,    \
      int64_t reduction, int64_t out_of_range, bool ignore_nan, bool validate
#define DLDL_FAST_LOSS_ARGUMENTS                                                               \
  logits, target, sigma_number, sigma, weight, target_distribution, labels, lambda, ld_weight, \
      variance_weight, kind, divergence, regression, smooth_l1_beta, reduction, out_of_range,  \
      ignore_nan, validate

std::tuple<Tensor, std::optional<Tensor>, std::optional<Tensor>, std::optional<Tensor>>
label_distribution_loss(DLDL_FAST_LOSS_PARAMETERS, bool return_terms, bool needs_grad) {
  Results r = run(DLDL_FAST_LOSS_ARGUMENTS, return_terms, needs_grad);
  return {std::move(r.loss), std::move(r.grad_logits), std::move(r.scale), std::move(r.terms)};
}

Tensor label_distribution_loss_backward(const Tensor& grad_loss, DLDL_FAST_LOSS_PARAMETERS) {
  const Results r = run(DLDL_FAST_LOSS_ARGUMENTS, false, true);
  scale_rows(*r.grad_logits, grad_loss, r.scale, weight);
  return *r.grad_logits;
}

std::string capability() { return cpu_capability(); }

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dldl_fast, CPU, m) {
  m.impl("label_distribution_loss", TORCH_BOX(&label_distribution_loss));
  m.impl("label_distribution_loss_backward", TORCH_BOX(&label_distribution_loss_backward));
  m.impl("scale_rows_", TORCH_BOX(&scale_rows));
}

STABLE_TORCH_LIBRARY_IMPL(dldl_fast, CompositeExplicitAutograd, m) {
  m.impl("cpu_capability", TORCH_BOX(&capability));
}

}  // namespace dldl_fast
