// Hybrid pooling of any kernel size in either layout: values are read one at a time.
#pragma once

#include "cuda/pool_window.cuh"
#include "cuda/row_group.cuh"

namespace dldl_fast::cuda {

struct PoolSizes {
  int64_t n_planes, channels, height, width;
  int64_t out_height, out_width;
  int64_t kernel_size;
  bool channels_last;
  int choice_bits;
  int slices;  // threads that share the windows of a plane

  __device__ int64_t plane_windows() const { return out_height * out_width; }
  __device__ int64_t windows() const { return n_planes * plane_windows(); }
};

// A place in images of some height and width: of a value or of a window.
struct Place {
  int64_t plane, y, x;

  // That of number `i` in memory.
  __device__ Place(const PoolSizes& in, int64_t i, int64_t height, int64_t width) {
    int64_t channel = 0;
    if (in.channels_last) {
      channel = i % in.channels;
      i /= in.channels;
    }
    x = i % width;
    i /= width;
    y = i % height;
    plane = i / height;
    if (in.channels_last) plane = plane * in.channels + channel;
  }
  __device__ Place(int64_t its_plane, int64_t its_y, int64_t its_x)
      : plane(its_plane), y(its_y), x(its_x) {}

  // The reverse.
  __device__ int64_t number(const PoolSizes& in, int64_t height, int64_t width) const {
    if (!in.channels_last) return (plane * height + y) * width + x;
    const int64_t image = plane / in.channels, channel = plane % in.channels;
    return ((image * height + y) * width + x) * in.channels + channel;
  }
};

template <class A, class T>
__device__ Largest<A> choose_of_window(const T* x, const PoolSizes& in, const Place& window) {
  const int64_t k = in.kernel_size, right = in.channels_last ? in.channels : 1;
  const int64_t below = right * in.width;
  const T* row =
      x + Place(window.plane, window.y * k, window.x * k).number(in, in.height, in.width);
  Largest<A> largest(to_accumulation(row[0]));
  uint32_t number = 0;
#pragma unroll 1
  for (int64_t i = 0; i < k; ++i, row += below) {
#pragma unroll 1
    for (int64_t j = 0; j < k; ++j) largest.compare(to_accumulation(row[j * right]), number++);
  }
  return largest;
}

// The choice of window number `i`, of 8 bits or more, or with those that share its byte: this is
// done for the last one of them, and looks for the others' choices once more.
template <class A, class T>
__device__ void store_choice(const T* x, const PoolSizes& in, int64_t i, uint32_t choice,
                             uint8_t* choices) {
  const int n_bytes = in.choice_bits / 8;
  for (int b = 0; b < n_bytes; ++b) {
    choices[i * n_bytes + b] = static_cast<uint8_t>(choice >> 8 * b);
  }
  if (n_bytes > 0) return;
  const int per_byte = 8 / in.choice_bits, place = static_cast<int>(i % per_byte);
  if (place < per_byte - 1 && i < in.windows() - 1) return;
  uint32_t byte = choice << place * in.choice_bits;
#pragma unroll 1
  for (int p = 0; p < place; ++p) {
    const Place window(in, i - place + p, in.out_height, in.out_width);
    byte |= choose_of_window<A>(x, in, window).choice << p * in.choice_bits;
  }
  choices[i / per_byte] = static_cast<uint8_t>(byte);
}

__device__ inline uint32_t load_choice(const PoolSizes& in, int64_t i, const uint8_t* choices) {
  const int n_bytes = in.choice_bits / 8;
  if (n_bytes == 0) {
    const int per_byte = 8 / in.choice_bits, place = static_cast<int>(i % per_byte);
    return choices[i / per_byte] >> place * in.choice_bits & ((1u << in.choice_bits) - 1);
  }
  uint32_t choice = 0;
  for (int b = 0; b < n_bytes; ++b) choice |= uint32_t{choices[i * n_bytes + b]} << 8 * b;
  return choice;
}

template <class T, class A>
__global__ void __launch_bounds__(kBlockThreads, 2)
    hybrid_pool2d_any(const T* x, const PoolSizes in, T* pooled, uint8_t* choices) {
  // Few threads may have many windows: they are summed in double.
  auto& sums = block_memory<double[kBlockThreads]>();
  // Neighbouring threads have neighbouring windows of a plane, or those of neighbouring channels.
  const int thread = static_cast<int>(threadIdx.x), planes = kBlockThreads / in.slices;
  const int slice = in.channels_last ? thread / planes : thread % in.slices;
  const int of_block = in.channels_last ? thread % planes : thread / in.slices;
  const int64_t plane = static_cast<int64_t>(blockIdx.x) * planes + of_block;
  const int64_t windows = in.plane_windows();
  double sum = 0;
  if (plane < in.n_planes) {
#pragma unroll 1
    for (int64_t r = slice; r < windows; r += in.slices) {
      const Place window(plane, r / in.out_width, r % in.out_width);
      const Largest<A> largest = choose_of_window<A>(x, in, window);
      sum += largest.value;
      if (choices != nullptr) {
        const int64_t number = window.number(in, in.out_height, in.out_width);
        store_choice<A>(x, in, number, largest.choice, choices);
      }
    }
  }
  sums[thread] = sum;
  __syncthreads();
  if (slice > 0 || plane >= in.n_planes) return;
  const int step = in.channels_last ? planes : 1;
  double total = 0;
#pragma unroll 1
  for (int s = 0; s < in.slices; ++s) total += sums[thread + s * step];
  to_storage(static_cast<A>(total / static_cast<double>(windows)), pooled[plane]);
}

// A thread a value of the result.
template <class T, class A>
__global__ void __launch_bounds__(kBlockThreads, 2)
    hybrid_pool2d_backward_any(const T* grad_pooled, const PoolSizes in, const uint8_t* choices,
                               T* grad_x) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kBlockThreads + threadIdx.x;
  if (i >= in.n_planes * in.height * in.width) return;
  const Place at(in, i, in.height, in.width);
  const int64_t k = in.kernel_size;
  const Place window(at.plane, at.y / k, at.x / k);
  A gradient = 0;
  if (window.y < in.out_height && window.x < in.out_width) {
    const int64_t number = window.number(in, in.out_height, in.out_width);
    const auto own = static_cast<uint32_t>(at.y % k * k + at.x % k);
    if (load_choice(in, number, choices) == own) {
      gradient = to_accumulation(grad_pooled[at.plane]) / static_cast<A>(in.plane_windows());
    }
  }
  to_storage(gradient, grad_x[i]);
}

}  // namespace dldl_fast::cuda
