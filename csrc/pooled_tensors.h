// Tensor arguments of hybrid_pool2d and its backward, checked, for every device.
#pragma once

#include "op_arguments.h"
#include "pool_shape.h"

namespace dldl_fast {

constexpr int64_t kMaxKernelSize = 65536;

inline void check_kernel_size(int64_t kernel_size) {
  STD_TORCH_CHECK(kernel_size >= 1 && kernel_size <= kMaxKernelSize, "kernel_size must be in [1, ",
                  kMaxKernelSize, "], got ", kernel_size);
}

// Whether the channels of a pixel are neighbours: as in dldl_fast/schema.py, not where the order
// is that of NCHW as well.
inline bool is_channels_last(const Tensor& x) {
  if (x.is_contiguous()) return false;
  const int64_t c = x.size(1), h = x.size(2), w = x.size(3);
  const int64_t strides[] = {h * w * c, 1, w * c, c};
  for (int d = 0; d < 4; ++d) {
    if (x.size(d) != 1 && x.stride(d) != strides[d]) return false;
  }
  return true;
}

struct PoolInput {
  Tensor x;
  PoolShape shape;

  PoolInput(const Tensor& given, int64_t kernel_size) {
    check_kernel_size(kernel_size);
    STD_TORCH_CHECK(
        given.dim() == 4 && given.size(2) >= kernel_size && given.size(3) >= kernel_size,
        "x must have shape [N, C, H, W] with H and W >= kernel_size = ", kernel_size);
    const bool channels_last = is_channels_last(given);
    x = channels_last ? given : as_contiguous(given);
    shape = {x.size(0), x.size(1), x.size(2), x.size(3), kernel_size, channels_last};
  }
};

struct PoolGradient {
  Tensor grad_pooled;
  PoolShape shape;

  PoolGradient(const Tensor& given, const Tensor& choices, int64_t height, int64_t width,
               int64_t kernel_size, bool channels_last) {
    check_kernel_size(kernel_size);
    STD_TORCH_CHECK(given.dim() == 2, "grad_pooled must have shape [N, C]");
    STD_TORCH_CHECK(height >= kernel_size && width >= kernel_size,
                    "height and width must be at least kernel_size = ", kernel_size);
    grad_pooled = as_contiguous(given);
    shape = {given.size(0), given.size(1), height, width, kernel_size, channels_last};
    STD_TORCH_CHECK(choices.scalar_type() == ScalarType::Byte && choices.is_contiguous() &&
                        choices.numel() == shape.choice_bytes(),
                    "choices must be the ", shape.choice_bytes(),
                    " bytes that hybrid_pool2d returned for this input");
  }

  // Laid out as x was.
  Tensor new_grad_x() const {
    const int64_t n = shape.images, c = shape.channels, h = shape.height, w = shape.width;
    if (!shape.channels_last)
      return new_tensor(grad_pooled, grad_pooled.scalar_type(), {n, c, h, w});
    return new_strided_tensor(grad_pooled, grad_pooled.scalar_type(), {n, c, h, w},
                              {h * w * c, 1, w * c, c});
  }
};

}  // namespace dldl_fast
