// What both ops need of their tensor arguments: storage type, label grid, per-row values.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <vector>

#include "cpu/kernels.h"

namespace dldl_fast {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline Storage storage_of(const Tensor& logits) {
  switch (logits.scalar_type()) {
    case ScalarType::Float:
      return Storage::kFloat;
    case ScalarType::Double:
      return Storage::kDouble;
    case ScalarType::BFloat16:
      return Storage::kBFloat16;
    case ScalarType::Half:
      return Storage::kHalf;
    default:
      STD_TORCH_CHECK(false, "logits must be float32, float64, bfloat16 or float16");
  }
}

inline ScalarType accumulation_type(const Tensor& logits) {
  return logits.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// torch::stable::new_empty and contiguous look their op up by name in every call, which takes
// longer than a small batch of rows; these two do without.
inline Tensor new_tensor(const Tensor& like, ScalarType type,
                         std::initializer_list<int64_t> sizes) {
  int64_t strides[4], step = 1;
  for (size_t d = sizes.size(); d-- > 0;) {
    strides[d] = step;
    step *= sizes.begin()[d];
  }
  int32_t device_type = 0, device_index = 0;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &device_index));
  const int32_t dtype = torch::stable::detail::to<int32_t>(torch::stable::detail::from(type));
  AtenTensorHandle handle = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()),
                                                         sizes.begin(), strides, dtype, device_type,
                                                         device_index, &handle));
  return Tensor(handle);
}

inline Tensor as_contiguous(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

// Rows whose labels are contiguous; the distance of the rows is free.
inline Tensor with_contiguous_rows(const Tensor& logits) {
  STD_TORCH_CHECK(logits.dim() == 2, "logits must have shape [N, K], got ", logits.dim(),
                  " dimensions");
  return logits.stride(1) == 1 ? logits : torch::stable::contiguous(logits);
}

// Rows of a chunk of work: about 16,384 logits, and never a matter of the number of threads.
inline int64_t chunk_rows(int64_t n_labels) {
  const int64_t rows = 16384 / n_labels;
  return rows < 16 ? 16 : rows / 16 * 16;
}

// Call f(chunk, first row, end row, scratch) for every chunk, on torch's threads.
template <class F>
void for_each_chunk(int64_t n_rows, int64_t n_labels, size_t scratch_bytes, const F& f) {
  const int64_t rows = chunk_rows(n_labels);
  const int64_t n_chunks = (n_rows + rows - 1) / rows;
  const auto run = [&](int64_t begin, int64_t end) {
    std::vector<double> scratch(scratch_bytes / sizeof(double) + 1);
    for (int64_t c = begin; c < end; ++c) {
      const int64_t last = (c + 1) * rows;
      f(c, c * rows, last < n_rows ? last : n_rows, scratch.data());
    }
  };
  if (n_chunks == 1) return run(0, 1);
  torch::stable::parallel_for(0, n_chunks, 1, run);
}

// The label grid with what is derived from it in every call: cheaper than any way to keep it.
class Labels {
 public:
  Labels(const Tensor& labels, int64_t n_labels, bool in_double) : size_(n_labels) {
    STD_TORCH_CHECK(labels.scalar_type() == ScalarType::Double && labels.dim() == 1 &&
                        labels.is_contiguous() && labels.size(0) == n_labels && n_labels >= 2,
                    "labels must be a contiguous float64 tensor of shape [", n_labels, "], K >= 2");
    labels_ = labels.const_data_ptr<double>();
    middle_ = (labels_[0] + labels_[size_ - 1]) / 2;
    midpoints_.resize(size_ - 1);
    const double step = (labels_[size_ - 1] - labels_[0]) / static_cast<double>(size_ - 1);
    bool uniform = true;
    for (int64_t k = 0; k + 1 < size_; ++k) {
      midpoints_[k] = (labels_[k] + labels_[k + 1]) / 2;
      const double off = labels_[k] - (labels_[0] + step * static_cast<double>(k));
      uniform = uniform && off < 1e-6 * step && off > -1e-6 * step;
    }
    inverse_step_ = uniform ? 1 / step : 0;
    if (in_double) {
      centred_double_.resize(size_);
      for (int64_t k = 0; k < size_; ++k) centred_double_[k] = labels_[k] - middle_;
    } else {
      centred_float_.resize(size_);
      for (int64_t k = 0; k < size_; ++k) {
        centred_float_[k] = static_cast<float>(labels_[k] - middle_);
      }
    }
  }

  LabelGrid grid() const {
    const void* centred = centred_double_.empty() ? static_cast<const void*>(centred_float_.data())
                                                  : centred_double_.data();
    return {labels_, midpoints_.data(), centred, size_, middle_, inverse_step_};
  }

 private:
  const double* labels_;
  int64_t size_;
  double middle_;
  double inverse_step_;
  std::vector<double> midpoints_;
  std::vector<double> centred_double_;
  std::vector<float> centred_float_;
};

// A float32 or float64 argument with one value a row (or K a row), kept alive while it is read.
class Values {
 public:
  Values(const char* name, const std::optional<Tensor>& tensor, int64_t count) {
    if (!tensor.has_value()) return;
    const ScalarType type = tensor->scalar_type();
    STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double, name,
                    " must be float32 or float64");
    STD_TORCH_CHECK(tensor->numel() == count, name, " must hold ", count, " values, got ",
                    tensor->numel());
    held_ = as_contiguous(*tensor);
    values_ = {held_->const_data_ptr(), type == ScalarType::Double};
  }
  RowValues get() const { return values_; }

 private:
  std::optional<Tensor> held_;
  RowValues values_{nullptr, false};
};

}  // namespace dldl_fast
