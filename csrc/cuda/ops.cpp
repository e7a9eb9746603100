// The ops for CUDA tensors: from tensors to launchers. The .cu files include no torch header: nvcc
// reads every header twice for each architecture, and torch's are most of what there is to read.
#include <torch/csrc/stable/library.h>

#include <limits>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "cuda/build_info.h"
#include "cuda/device.h"
#include "cuda/expectation.h"
#include "cuda/hybrid_pool2d.h"
#include "cuda/label_distribution_loss.h"
#include "cuda/launch.h"
#include "cuda/scale_rows.h"
#include "loss_results.h"
#include "op_arguments.h"
#include "pooled_tensors.h"

namespace dldl_fast::cuda {
namespace {

LabelGrid grid_of(const Tensor& labels, double step, int64_t n_labels) {
  STD_TORCH_CHECK(labels.scalar_type() == ScalarType::Double && labels.dim() == 1 &&
                      labels.is_contiguous() && labels.size(0) == n_labels && n_labels >= 2 &&
                      n_labels <= std::numeric_limits<int>::max(),
                  "labels must be a contiguous float64 tensor of shape [", n_labels, "], K >= 2");
  return {labels.const_data_ptr<double>(), static_cast<int>(n_labels), step,
          step > 0 ? 1 / step : 0};
}

Logits logits_of(const Tensor& logits) {
  return {logits.const_data_ptr(), storage_of("logits", logits), logits.size(0), logits.stride(0)};
}

template <class T>
T* data_of(const std::optional<Tensor>& tensor) {
  return tensor.has_value() ? static_cast<T*>(tensor->mutable_data_ptr()) : nullptr;
}

// Values from the device, which has to finish for that.
template <class T>
std::vector<T> fetch(const void* data, size_t count, cudaStream_t stream) {
  std::vector<T> values(count);
  check(cudaMemcpyAsync(values.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost, stream),
        "cudaMemcpyAsync");
  check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  return values;
}

std::vector<double> fetch_values(const RowValues& values, int64_t begin, int64_t count,
                                 cudaStream_t stream) {
  if (values.is_double) {
    return fetch<double>(static_cast<const double*>(values.data) + begin, count, stream);
  }
  const auto floats = fetch<float>(static_cast<const float*>(values.data) + begin, count, stream);
  return {floats.begin(), floats.end()};
}

double bad_value(const LossInputs& in, BadValue what, int64_t row, cudaStream_t stream) {
  const auto value_of = [&](const RowValues& values) {
    return fetch_values(values, row, 1, stream)[0];
  };
  switch (what) {
    case BadValue::kSigma:
      return in.sigma.data == nullptr ? in.sigma_number : value_of(in.sigma);
    case BadValue::kWeight:
      return value_of(in.weight);
    case BadValue::kDistribution:
    case BadValue::kDistributionSum: {
      double sum = 0;
      const int64_t n_labels = in.grid.size;
      for (const double p : fetch_values(in.distribution, row * n_labels, n_labels, stream)) {
        if (!(p >= 0 && p <= std::numeric_limits<double>::max())) return p;
        sum += p;
      }
      return sum;
    }
    default:
      return value_of(in.target);
  }
}

void raise_if_bad(const LossInputs& in, const unsigned long long* bad_row, cudaStream_t stream) {
  const auto found = fetch<unsigned long long>(bad_row, 1, stream)[0];
  if (found == kNoBadRow) return;
  const auto what = static_cast<BadValue>(found & 255);
  const auto row = static_cast<int64_t>(found >> 8);
  const auto first = fetch<double>(in.grid.labels, 1, stream)[0];
  const auto last = fetch<double>(in.grid.labels + in.grid.size - 1, 1, stream)[0];
  throw_value_error(what, bad_value(in, what, row, stream), row, in.options, first, last);
}

using LossResults =
    std::tuple<Tensor, std::optional<Tensor>, std::optional<Tensor>, std::optional<Tensor>>;

LossResults label_distribution_loss_op(
    const Tensor& given_logits, const std::optional<Tensor>& target, double sigma_number,
    const std::optional<Tensor>& sigma, const std::optional<Tensor>& weight,
    const std::optional<Tensor>& target_distribution, const Tensor& labels, double label_step,
    double lambda, double ld_weight, double variance_weight, int64_t kind, int64_t divergence,
    int64_t regression, double smooth_l1_beta, int64_t reduction, int64_t out_of_range,
    bool ignore_nan, bool validate, bool return_terms, bool needs_grad) {
  const Device device(given_logits);
  const Tensor logits = with_contiguous_rows(given_logits);
  const int64_t n_rows = logits.size(0), n_labels = logits.size(1);
  STD_TORCH_CHECK(target.has_value() || target_distribution.has_value(),
                  "target or target_distribution must be given");
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
  // The range of any other grid is known on the device only.
  const double label_range = label_step * static_cast<double>(n_labels - 1);
  const GradientScale gradient(options, logits.scalar_type(), weight.has_value(), n_rows,
                               label_range);
  const LossInputs in{logits_of(logits),   grid_of(labels, label_step, n_labels),
                      targets.get(),       sigmas.get(),
                      sigma_number,        weights.get(),
                      distributions.get(), options,
                      gradient.now};

  const ScalarType type = accumulation_type(logits);
  Tensor loss = options.reduction == Reduction::kNone ? new_tensor(logits, type, {n_rows})
                                                      : new_tensor(logits, type, {});
  std::optional<Tensor> grad_logits, scale, terms, bad_row;
  if (needs_grad) grad_logits = new_tensor(logits, logits.scalar_type(), {n_rows, n_labels});
  if (gradient.later) scale = new_tensor(logits, ScalarType::Double, {});
  if (return_terms) terms = new_tensor(logits, ScalarType::Double, {3, n_rows});
  if (validate) bad_row = new_tensor(logits, ScalarType::Long, {});
  const Tensor workspace =
      new_tensor(logits, ScalarType::Double, {static_cast<int64_t>(loss_workspace_doubles(in))});
  const LossOutputs out{loss.mutable_data_ptr(),
                        data_of<void>(grad_logits),
                        data_of<double>(scale),
                        data_of<double>(terms),
                        data_of<unsigned long long>(bad_row),
                        workspace.mutable_data_ptr<double>()};
  label_distribution_loss(in, out, device.stream());
  if (validate && n_rows > 0) raise_if_bad(in, out.bad_row, device.stream());
  return {std::move(loss), std::move(grad_logits), std::move(scale), std::move(terms)};
}

void scale_rows_op(Tensor grad_logits, const Tensor& grad_loss, const std::optional<Tensor>& scale,
                   const std::optional<Tensor>& weight) {
  const Device device(grad_logits);
  const int64_t n_rows = grad_logits.size(0);
  STD_TORCH_CHECK(grad_logits.is_contiguous(), "grad_logits must be contiguous");
  const bool per_row = grad_loss.dim() == 1;
  const Values losses("grad_loss", grad_loss, per_row ? n_rows : 1);
  const Values weights("weight", weight, n_rows);
  scale_rows({grad_logits.mutable_data_ptr(), storage_of("grad_logits", grad_logits), n_rows,
              static_cast<int>(grad_logits.size(1)), losses.get(), per_row,
              data_of<const double>(scale), weights.get()},
             device.stream());
}

Tensor label_distribution_loss_backward_op(
    const Tensor& grad_loss, const Tensor& logits, const std::optional<Tensor>& target,
    double sigma_number, const std::optional<Tensor>& sigma, const std::optional<Tensor>& weight,
    const std::optional<Tensor>& target_distribution, const Tensor& labels, double label_step,
    double lambda, double ld_weight, double variance_weight, int64_t kind, int64_t divergence,
    int64_t regression, double smooth_l1_beta, int64_t reduction, int64_t out_of_range,
    bool ignore_nan, bool validate) {
  const auto [loss, grad_logits, scale, terms] = label_distribution_loss_op(
      logits, target, sigma_number, sigma, weight, target_distribution, labels, label_step, lambda,
      ld_weight, variance_weight, kind, divergence, regression, smooth_l1_beta, reduction,
      out_of_range, ignore_nan, validate, false, true);
  scale_rows_op(*grad_logits, grad_loss, scale, weight);
  return *grad_logits;
}

std::tuple<Tensor, std::optional<Tensor>> expectation_op(const Tensor& given_logits,
                                                         const Tensor& labels, double label_step,
                                                         bool return_std) {
  const Device device(given_logits);
  const Tensor logits = with_contiguous_rows(given_logits);
  const int64_t n_rows = logits.size(0);
  Tensor mean = new_tensor(logits, ScalarType::Double, {n_rows});
  // The kernel computes it in the same pass: it may as well be written.
  Tensor std = new_tensor(logits, ScalarType::Double, {n_rows});
  expectation(logits_of(logits), grid_of(labels, label_step, logits.size(1)),
              mean.mutable_data_ptr<double>(), std.mutable_data_ptr<double>(), device.stream());
  return {std::move(mean), return_std ? std::optional<Tensor>(std::move(std)) : std::nullopt};
}

Tensor expectation_backward_op(const std::optional<Tensor>& grad_mean,
                               const std::optional<Tensor>& grad_std, const Tensor& given_logits,
                               const Tensor& labels, double label_step) {
  const Device device(given_logits);
  const Tensor logits = with_contiguous_rows(given_logits);
  const int64_t n_rows = logits.size(0), n_labels = logits.size(1);
  const Values means("grad_mean", grad_mean, n_rows), stds("grad_std", grad_std, n_rows);
  Tensor grad = new_tensor(logits, logits.scalar_type(), {n_rows, n_labels});
  const auto doubles = [](const Values& values) {
    const RowValues given = values.get();
    STD_TORCH_CHECK(given.data == nullptr || given.is_double,
                    "gradients of the expectation must be float64");
    return static_cast<const double*>(given.data);
  };
  expectation_backward(logits_of(logits), grid_of(labels, label_step, n_labels), doubles(means),
                       doubles(stds), grad.mutable_data_ptr(), device.stream());
  return grad;
}

std::tuple<Tensor, std::optional<Tensor>> hybrid_pool2d_op(const Tensor& given_x,
                                                           int64_t kernel_size, bool needs_grad) {
  const Device device(given_x);
  const PoolInput in(given_x, kernel_size);
  const PoolShape& shape = in.shape;
  Tensor pooled = new_tensor(in.x, in.x.scalar_type(), {shape.images, shape.channels});
  std::optional<Tensor> choices;
  if (needs_grad) choices = new_tensor(in.x, ScalarType::Byte, {shape.choice_bytes()});
  hybrid_pool2d(in.x.const_data_ptr(), storage_of("x", in.x), shape, pooled.mutable_data_ptr(),
                data_of<uint8_t>(choices), device.stream());
  return {std::move(pooled), std::move(choices)};
}

Tensor hybrid_pool2d_backward_op(const Tensor& grad_pooled, const Tensor& choices, int64_t height,
                                 int64_t width, int64_t kernel_size, bool channels_last) {
  const Device device(grad_pooled);
  const PoolGradient in(grad_pooled, choices, height, width, kernel_size, channels_last);
  Tensor grad_x = in.new_grad_x();
  hybrid_pool2d_backward(in.grad_pooled.const_data_ptr(), storage_of("grad_pooled", in.grad_pooled),
                         in.shape, choices.const_data_ptr<uint8_t>(), grad_x.mutable_data_ptr(),
                         device.stream());
  return grad_x;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(dldl_fast, m) { m.def("cuda_build_info() -> str"); }

STABLE_TORCH_LIBRARY_IMPL(dldl_fast, CompositeExplicitAutograd, m) {
  m.impl("cuda_build_info", TORCH_BOX(&cuda_build_info));
}

// tests/simt registers the same ops for CPU tensors.
#ifndef DLDL_FAST_CUDA_KEY
#define DLDL_FAST_CUDA_KEY CUDA
#endif

STABLE_TORCH_LIBRARY_IMPL(dldl_fast, DLDL_FAST_CUDA_KEY, m) {
  m.impl("label_distribution_loss", TORCH_BOX(&label_distribution_loss_op));
  m.impl("label_distribution_loss_backward", TORCH_BOX(&label_distribution_loss_backward_op));
  m.impl("scale_rows_", TORCH_BOX(&scale_rows_op));
  m.impl("expectation", TORCH_BOX(&expectation_op));
  m.impl("expectation_backward", TORCH_BOX(&expectation_backward_op));
  m.impl("hybrid_pool2d", TORCH_BOX(&hybrid_pool2d_op));
  m.impl("hybrid_pool2d_backward", TORCH_BOX(&hybrid_pool2d_backward_op));
}

}  // namespace dldl_fast::cuda
