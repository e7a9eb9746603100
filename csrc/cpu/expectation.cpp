// expectation and expectation_backward for CPU tensors.
#include <torch/csrc/stable/library.h>

#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "cpu/tensors.h"

namespace dldl_fast {
namespace {

std::tuple<Tensor, std::optional<Tensor>> expectation(const Tensor& given_logits,
                                                      const Tensor& labels, double /*label_step*/,
                                                      bool return_std) {
  const Tensor logits = with_contiguous_rows(given_logits);
  const int64_t n_rows = logits.size(0), n_labels = logits.size(1);
  const Labels held(labels, n_labels, logits.scalar_type() == ScalarType::Double);
  const LabelGrid grid = held.grid();
  Tensor mean = new_tensor(logits, ScalarType::Double, {n_rows});
  std::optional<Tensor> std;
  if (return_std) std = new_tensor(logits, ScalarType::Double, {n_rows});
  double* means = mean.mutable_data_ptr<double>();
  double* stds = return_std ? std->mutable_data_ptr<double>() : nullptr;
  const Kernels& kernel = kernels(storage_of("logits", logits), n_labels);
  for_each_chunk(n_rows, n_labels, kernel.scratch_bytes(n_labels),
                 [&](int64_t, int64_t begin, int64_t end, void* scratch) {
                   kernel.expectation(logits.const_data_ptr(), logits.stride(0), grid, begin, end,
                                      means, stds, scratch);
                 });
  return {std::move(mean), std::move(std)};
}

// One float64 value a row, or null where there is no such gradient. That of a sum has stride 0.
class RowGradients {
 public:
  RowGradients(const char* name, const std::optional<Tensor>& tensor, int64_t n_rows) {
    if (!tensor.has_value()) return;
    STD_TORCH_CHECK(tensor->scalar_type() == ScalarType::Double && tensor->dim() == 1 &&
                        tensor->size(0) == n_rows,
                    name, " must hold ", n_rows, " float64 values");
    held_ = *tensor;
    data_ = held_->const_data_ptr<double>();
    const int64_t stride = tensor->stride(0);
    if (stride == 1) return;
    copied_.resize(n_rows);
    for (int64_t i = 0; i < n_rows; ++i) copied_[i] = data_[i * stride];
    data_ = copied_.data();
  }
  const double* data() const { return data_; }

 private:
  std::optional<Tensor> held_;
  std::vector<double> copied_;
  const double* data_ = nullptr;
};

Tensor expectation_backward(const std::optional<Tensor>& grad_mean,
                            const std::optional<Tensor>& grad_std, const Tensor& given_logits,
                            const Tensor& labels, double /*label_step*/) {
  const Tensor logits = with_contiguous_rows(given_logits);
  const int64_t n_rows = logits.size(0), n_labels = logits.size(1);
  const Labels held(labels, n_labels, logits.scalar_type() == ScalarType::Double);
  const LabelGrid grid = held.grid();
  const RowGradients means("grad_mean", grad_mean, n_rows), stds("grad_std", grad_std, n_rows);
  Tensor grad = new_tensor(logits, logits.scalar_type(), {n_rows, n_labels});
  void* data = grad.mutable_data_ptr();
  const Kernels& kernel = kernels(storage_of("logits", logits), n_labels);
  for_each_chunk(n_rows, n_labels, kernel.scratch_bytes(n_labels),
                 [&](int64_t, int64_t begin, int64_t end, void* scratch) {
                   kernel.expectation_backward(logits.const_data_ptr(), logits.stride(0), grid,
                                               begin, end, means.data(), stds.data(), data,
                                               scratch);
                 });
  return grad;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dldl_fast, CPU, m) {
  m.impl("expectation", TORCH_BOX(&expectation));
  m.impl("expectation_backward", TORCH_BOX(&expectation_backward));
}

}  // namespace dldl_fast
