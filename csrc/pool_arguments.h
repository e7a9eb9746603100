// What the hybrid pooling of every device needs of its tensor arguments.
#pragma once

#include "op_arguments.h"
#include "pool_shape.h"

namespace dldl_fast {

constexpr int64_t kMaxPoolKernelSize = 65536;

// Whether the channels of a pixel are neighbours; else the op works in NCHW order. The same as
// `is_channels_last` of dldl_fast/schema.py.
inline bool is_channels_last(const Tensor& x) {
  if (x.is_contiguous()) return false;
  int64_t step = 1;
  for (const int d : {1, 3, 2, 0}) {
    if (x.size(d) == 1) continue;
    if (x.stride(d) != step) return false;
    step *= x.size(d);
  }
  return true;
}

inline PoolShape pool_shape(int64_t images, int64_t channels, int64_t height, int64_t width,
                            int64_t kernel_size, bool channels_last) {
  STD_TORCH_CHECK(kernel_size >= 1 && kernel_size <= kMaxPoolKernelSize,
                  "kernel_size must be in [1, ", kMaxPoolKernelSize, "], got ", kernel_size);
  STD_TORCH_CHECK(height >= kernel_size && width >= kernel_size,
                  "height and width must be at least kernel_size = ", kernel_size, ", got ", height,
                  " and ", width);
  return {images, channels, height, width, kernel_size, channels_last};
}

// x in one of the two orders, and its shape.
struct PoolInput {
  PoolInput(const Tensor& given, int64_t kernel_size) : x(in_order(given)) {
    shape =
        pool_shape(x.size(0), x.size(1), x.size(2), x.size(3), kernel_size, is_channels_last(x));
  }

  Tensor x;
  PoolShape shape{};

 private:
  static Tensor in_order(const Tensor& given) {
    STD_TORCH_CHECK(given.dim() == 4, "x must have shape [N, C, H, W], got ", given.dim(),
                    " dimensions");
    return is_channels_last(given) ? given : as_contiguous(given);
  }
};

// The gradient of the pooled values, the choices, and the shape of x.
struct PoolGradient {
  PoolGradient(const Tensor& grad_pooled, const Tensor& given_choices, int64_t height,
               int64_t width, int64_t kernel_size, bool channels_last)
      : pooled(as_contiguous(grad_pooled)), choices(given_choices) {
    STD_TORCH_CHECK(pooled.dim() == 2, "grad_pooled must have shape [N, C], got ", pooled.dim(),
                    " dimensions");
    shape = pool_shape(pooled.size(0), pooled.size(1), height, width, kernel_size, channels_last);
    STD_TORCH_CHECK(choices.scalar_type() == ScalarType::Byte && choices.is_contiguous() &&
                        choices.numel() == shape.choice_bytes(),
                    "choices must be a contiguous uint8 tensor of ", shape.choice_bytes(),
                    " bytes, got ", choices.numel());
  }
  // Of the shape and layout of x.
  Tensor new_gradient() const {
    const int64_t c = shape.channels, h = shape.height, w = shape.width;
    const int64_t nchw[] = {c * h * w, h * w, w, 1}, nhwc[] = {h * w * c, 1, w * c, c};
    return new_strided_tensor(pooled, pooled.scalar_type(), {shape.images, c, h, w},
                              shape.channels_last ? nhwc : nchw);
  }

  Tensor pooled, choices;
  PoolShape shape{};
};

}  // namespace dldl_fast
