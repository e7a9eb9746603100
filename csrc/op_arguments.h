// What the ops of every device need of their tensor arguments.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <initializer_list>
#include <optional>

#include "rows.h"

namespace dldl_fast {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline Storage storage_of(const char* name, const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float:
      return Storage::kFloat;
    case ScalarType::Double:
      return Storage::kDouble;
    case ScalarType::BFloat16:
      return Storage::kBFloat16;
    case ScalarType::Half:
      return Storage::kHalf;
    default:
      STD_TORCH_CHECK(false, name, " must be float32, float64, bfloat16 or float16");
  }
}

inline ScalarType accumulation_type(const Tensor& logits) {
  return logits.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// torch::stable::new_empty and contiguous look their op up by name in every call, which takes
// longer than a small batch of rows; these do without.
inline Tensor new_strided_tensor(const Tensor& like, ScalarType type,
                                 std::initializer_list<int64_t> sizes,
                                 std::initializer_list<int64_t> strides) {
  int32_t device_type = 0, device_index = 0;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &device_index));
  const int32_t dtype = torch::stable::detail::to<int32_t>(torch::stable::detail::from(type));
  AtenTensorHandle handle = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()),
                                                         sizes.begin(), strides.begin(), dtype,
                                                         device_type, device_index, &handle));
  return Tensor(handle);
}

inline Tensor new_tensor(const Tensor& like, ScalarType type,
                         std::initializer_list<int64_t> sizes) {
  int64_t strides[4] = {}, step = 1;
  for (size_t d = sizes.size(); d-- > 0;) {
    strides[d] = step;
    step *= sizes.begin()[d];
  }
  return new_strided_tensor(like, type, sizes, {strides[0], strides[1], strides[2], strides[3]});
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
