// Sizes of a hybrid pooling, and how the choices of its windows are kept for backward.
#pragma once

#include <cstdint>

namespace dldl_fast {

// [N, C, H, W] in memory, or with the channels of a pixel beside each other: [N, H, W, C].
struct PoolShape {
  int64_t images, channels, height, width;
  int64_t kernel_size;
  bool channels_last;

  int64_t out_height() const { return height / kernel_size; }
  int64_t out_width() const { return width / kernel_size; }
  int64_t windows_of_plane() const { return out_height() * out_width(); }
  int64_t windows() const { return images * channels * windows_of_plane(); }

  // Bits of a choice, a number below kernel_size^2: `choice_bits` of dldl_fast/schema.py.
  int choice_bits() const {
    return kernel_size <= 2     ? 2
           : kernel_size <= 4   ? 4
           : kernel_size <= 16  ? 8
           : kernel_size <= 256 ? 16
                                : 32;
  }
  int64_t choice_bytes() const { return (windows() * choice_bits() + 7) / 8; }
};

}  // namespace dldl_fast
