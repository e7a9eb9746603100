// The choice of a window, and the order in which threads go through the windows of a plane.
#pragma once

#include <cstdint>

#include "cuda/packet.cuh"

namespace dldl_fast::cuda {

// The largest value so far and its number in the window, as torch's max_pool2d finds them: of equal
// ones the first, of several NaN the last.
template <class A>
struct Largest {
  A value;
  uint32_t choice = 0;

  __device__ __forceinline__ explicit Largest(A first) : value(first) {}
  __device__ __forceinline__ void compare(A next, uint32_t number) {
    const bool taken = next > value || next != next;
    value = taken ? next : value;
    choice = taken ? number : choice;
  }
};

// Windows `first`, `first` + `step`, ... of a plane that is `out_width` windows wide.
struct WindowWalk {
  int i, j;

  __device__ WindowWalk(int first, int step, int out_width)
      : i(first / out_width),
        j(first % out_width),
        rows_(step / out_width),
        columns_(step % out_width),
        out_width_(out_width) {}
  __device__ __forceinline__ void advance() {
    i += rows_;
    j += columns_;
    if (j >= out_width_) {
      j -= out_width_;
      ++i;
    }
  }

 private:
  int rows_, columns_, out_width_;
};

// Four choices of 2 bits, one in each byte of a word, as one byte; and the reverse.
__device__ __forceinline__ uint8_t four_choices(uint32_t word) {
  return static_cast<uint8_t>(word | word >> 6 | word >> 12 | word >> 18);
}
__device__ __forceinline__ uint32_t spread_choices(uint32_t byte) {
  return (byte | byte << 6 | byte << 12 | byte << 18) & 0x03030303u;
}

}  // namespace dldl_fast::cuda
