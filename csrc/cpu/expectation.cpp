// expectation and expectation_backward for CPU tensors.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "cpu/tensors.h"

namespace dldl_fast {
namespace {

std::tuple<Tensor, Tensor> expectation(const Tensor& given_logits, const Tensor& labels) {
  const Tensor logits = with_contiguous_rows(given_logits);
  const int64_t n_rows = logits.size(0), n_labels = logits.size(1);
  const Labels held(labels, n_labels, logits.scalar_type() == ScalarType::Double);
  const LabelGrid grid = held.grid();
  Tensor mean = new_tensor(logits, ScalarType::Double, {n_rows});
  Tensor std = new_tensor(logits, ScalarType::Double, {n_rows});
  double* means = mean.mutable_data_ptr<double>();
  double* stds = std.mutable_data_ptr<double>();
  const Kernels& kernel = kernels(storage_of(logits), n_labels);
  for_each_chunk(n_rows, n_labels, kernel.scratch_bytes(n_labels),
                 [&](int64_t, int64_t begin, int64_t end, void* scratch) {
                   kernel.expectation(logits.const_data_ptr(), logits.stride(0), grid, begin, end,
                                      means, stds, scratch);
                 });
  return {mean, std};
}

Tensor expectation_backward(const Tensor& grad_mean, const Tensor& grad_std,
                            const Tensor& given_logits, const Tensor& labels) {
  const Tensor logits = with_contiguous_rows(given_logits);
  const int64_t n_rows = logits.size(0), n_labels = logits.size(1);
  const Labels held(labels, n_labels, logits.scalar_type() == ScalarType::Double);
  const LabelGrid grid = held.grid();
  STD_TORCH_CHECK(grad_mean.numel() == n_rows && grad_std.numel() == n_rows,
                  "grad_mean and grad_std must hold ", n_rows, " values");
  const Tensor means = as_contiguous(grad_mean);
  const Tensor stds = as_contiguous(grad_std);
  Tensor grad = new_tensor(logits, logits.scalar_type(), {n_rows, n_labels});
  void* data = grad.mutable_data_ptr();
  const Kernels& kernel = kernels(storage_of(logits), n_labels);
  for_each_chunk(n_rows, n_labels, kernel.scratch_bytes(n_labels),
                 [&](int64_t, int64_t begin, int64_t end, void* scratch) {
                   kernel.expectation_backward(logits.const_data_ptr(), logits.stride(0), grid,
                                               begin, end, means.const_data_ptr<double>(),
                                               stds.const_data_ptr<double>(), data, scratch);
                 });
  return grad;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dldl_fast, CPU, m) {
  m.impl("expectation", TORCH_BOX(&expectation));
  m.impl("expectation_backward", TORCH_BOX(&expectation_backward));
}

}  // namespace dldl_fast
