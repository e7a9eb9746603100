// Hybrid pooling with channels last, windows of 2 x 2: a thread has the channels of one packet, and
// the threads of a block share the windows of its channels.
#pragma once

#include "cuda/pool_window.cuh"
#include "cuda/row_group.cuh"

namespace dldl_fast::cuda {

struct PoolChannels {
  int channels;
  int height, width;
  int out_height, out_width;
  int blocks;  // of an image
};

constexpr int kBlockChannels = 64;
// Windows that a thread sums apart, so that what rounding costs does not grow with all of them.
constexpr int kPart = 256;

// Which channels of which image a thread has, and every how-many-th window.
template <class T>
struct ChannelThread {
  static constexpr int kSize = Packet<T>::kSize;
  static constexpr int kLanes = kBlockChannels / kSize;
  static constexpr int kSlices = kBlockThreads / kLanes;
  // Choices of a packet.
  using Choices = std::conditional_t<kSize == 8, uint16_t, uint8_t>;

  int64_t image;
  int first, lane, slice;

  __device__ explicit ChannelThread(const PoolChannels& in)
      : image(static_cast<int64_t>(blockIdx.x) / in.blocks),
        first(static_cast<int>(blockIdx.x % in.blocks) * kBlockChannels),
        lane(static_cast<int>(threadIdx.x) % kLanes),
        slice(static_cast<int>(threadIdx.x) / kLanes) {}
  __device__ int channel() const { return first + lane * kSize; }
  __device__ int64_t offset(const PoolChannels& in, int y, int x) const {
    return ((image * in.height + y) * in.width + x) * in.channels + channel();
  }
  __device__ Choices* choices_of(const PoolChannels& in, int i, int j, uint8_t* choices) const {
    const int64_t window =
        ((image * in.out_height + i) * in.out_width + j) * in.channels + channel();
    return reinterpret_cast<Choices*>(choices + window / 4);
  }
  // The value of the block's channel that this thread computes, if any.
  __device__ bool has_result(const PoolChannels& in) const {
    const int thread = static_cast<int>(threadIdx.x);
    return thread < kBlockChannels && first + thread < in.channels;
  }
  __device__ int64_t result(const PoolChannels& in) const {
    return image * in.channels + first + static_cast<int>(threadIdx.x);
  }
};

// The intrinsic keeps the access whole: an ordinary one may be split among the values' uses.
template <class T>
__device__ __forceinline__ void load_packet(const T* from, float* values) {
  Packet<T>::unpack(__ldcs(reinterpret_cast<const uint4*>(from)), values);
}

template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    hybrid_pool2d_channels(const T* x, const PoolChannels in, T* pooled, uint8_t* choices) {
  using Thread = ChannelThread<T>;
  constexpr int kSize = Thread::kSize;
  auto& sums = block_memory<float[Thread::kSlices][kBlockChannels]>();
  const Thread at(in);
  float sum[kSize] = {};
  if (at.channel() < in.channels) {
    const int64_t right = in.channels, below = right * in.width;
    const int windows = in.out_height * in.out_width;
    WindowWalk walk(at.slice, Thread::kSlices, in.out_width);
#pragma unroll 1
    for (int r = at.slice; r < windows;) {
      float part[kSize] = {};
#pragma unroll 1
      for (int n = 0; n < kPart && r < windows; ++n, r += Thread::kSlices, walk.advance()) {
        const T* top = x + at.offset(in, 2 * walk.i, 2 * walk.j);
        float values[4][kSize];
        load_packet(top, values[0]);
        load_packet(top + right, values[1]);
        load_packet(top + below, values[2]);
        load_packet(top + below + right, values[3]);
        uint32_t chosen = 0;
#pragma unroll
        for (int v = 0; v < kSize; ++v) {
          Largest<float> largest(values[0][v]);
#pragma unroll
          for (int i = 1; i < 4; ++i) largest.compare(values[i][v], i);
          part[v] += largest.value;
          chosen |= largest.choice << 2 * v;
        }
        if (choices != nullptr) {
          *at.choices_of(in, walk.i, walk.j, choices) =
              static_cast<typename Thread::Choices>(chosen);
        }
      }
#pragma unroll
      for (int v = 0; v < kSize; ++v) sum[v] += part[v];
    }
  }
#pragma unroll
  for (int v = 0; v < kSize; ++v) sums[at.slice][at.lane * kSize + v] = sum[v];
  __syncthreads();
  if (!at.has_result(in)) return;
  float total = 0;
#pragma unroll
  for (int s = 0; s < Thread::kSlices; ++s) total += sums[s][threadIdx.x];
  const int windows = in.out_height * in.out_width;
  to_storage(total / static_cast<float>(windows), pooled[at.result(in)]);
}

template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    hybrid_pool2d_backward_channels(const T* grad_pooled, const PoolChannels in,
                                    const uint8_t* choices, T* grad_x) {
  using Thread = ChannelThread<T>;
  constexpr int kSize = Thread::kSize;
  auto& gradients = block_memory<float[kBlockChannels]>();
  const Thread at(in);
  if (at.has_result(in)) {
    gradients[threadIdx.x] = to_accumulation(grad_pooled[at.result(in)]) /
                             static_cast<float>(in.out_height * in.out_width);
  }
  __syncthreads();
  if (at.channel() >= in.channels) return;
  float gradient[kSize];
#pragma unroll
  for (int v = 0; v < kSize; ++v) gradient[v] = gradients[at.lane * kSize + v];
  // With the columns and rows that no window has.
  const int columns = (in.width + 1) / 2, cells = (in.height + 1) / 2 * columns;
  WindowWalk walk(at.slice, Thread::kSlices, columns);
#pragma unroll 1
  for (int r = at.slice; r < cells; r += Thread::kSlices, walk.advance()) {
    const bool is_window = walk.i < in.out_height && walk.j < in.out_width;
    const uint32_t chosen =
        is_window ? *at.choices_of(in, walk.i, walk.j, const_cast<uint8_t*>(choices)) : 0;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int y = 2 * walk.i + n / 2, x = 2 * walk.j + n % 2;
      if (y >= in.height || x >= in.width) continue;
      float values[kSize];
#pragma unroll
      for (int v = 0; v < kSize; ++v) {
        const bool is_choice = is_window && (chosen >> 2 * v) % 4 == static_cast<uint32_t>(n);
        values[v] = is_choice ? gradient[v] : 0.0f;
      }
      *reinterpret_cast<uint4*>(grad_x + at.offset(in, y, x)) = Packet<T>::pack(values);
    }
  }
}

}  // namespace dldl_fast::cuda
