// The threads that compute one row together: neighbouring lanes of a warp, and which labels of
// the row each of them holds.
#pragma once

#include <cuda_runtime.h>

#include "cuda/arithmetic.cuh"

namespace dldl_fast::cuda {

constexpr int kBlockThreads = 256;
constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// Lane i of L holds the labels i, i + L, i + 2 L, ..., each in a slot. The group serves rows of
// more than L * kFull labels, so that the first kFull slots need no check.
template <int kGroupLanes, int kGroupSlots, int kFull>
struct RowGroup {
  static constexpr int kLanes = kGroupLanes;
  static constexpr int kSlots = kGroupSlots;
  static constexpr int kRowsPerWarp = kWarp / kLanes;
  static constexpr int kGroups = kBlockThreads / kLanes;
  // Of a block: two for each group share what the block does once.
  static constexpr int kMaxRows = 2 * kGroups;

  static __device__ int lane() { return static_cast<int>(threadIdx.x) % kLanes; }
  static __device__ int index() { return static_cast<int>(threadIdx.x) / kLanes; }

  // Calls f(slot, label) for every label of this lane.
  template <class F>
  static __device__ __forceinline__ void for_labels(int n_labels, const F& f) {
#pragma unroll
    for (int j = 0; j < kSlots; ++j) {
      const int k = lane() + j * kLanes;
      if (j < kFull || k < n_labels) f(j, k);
    }
  }
};

// Blocks that an SM holds together: as many as the registers of the slots leave room for without
// spilling on any architecture.
template <class A, class Group>
constexpr int kMinBlocks = sizeof(A) == sizeof(double) ? 1
                           : Group::kSlots > 26        ? 2
                                                       : 3;

template <int kLanes, class V>
__device__ __forceinline__ V group_sum(V value) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, offset);
  }
  return value;
}

template <int kLanes, class V>
__device__ __forceinline__ V group_max(V value) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    value = larger(value, __shfl_xor_sync(kAllLanes, value, offset));
  }
  return value;
}

// The shared memory of the block, all of it requested at the launch.
template <class Memory>
__device__ Memory& block_memory() {
  extern __shared__ uint4 dynamic_shared[];
  return *reinterpret_cast<Memory*>(dynamic_shared);
}

// The same over all threads of a block; `scratch` holds one value a warp.
constexpr int kBlockWarps = kBlockThreads / kWarp;

template <class V>
struct Scratch {
  V values[kBlockWarps];
};

template <class V>
__device__ V block_sum(V value, Scratch<V>& scratch) {
  value = group_sum<kWarp>(value);
  if (threadIdx.x % kWarp == 0) scratch.values[threadIdx.x / kWarp] = value;
  __syncthreads();
  V sum = scratch.values[0];
  for (int w = 1; w < kBlockWarps; ++w) sum += scratch.values[w];
  __syncthreads();
  return sum;
}

template <class V>
__device__ V block_max(V value, Scratch<V>& scratch) {
  value = group_max<kWarp>(value);
  if (threadIdx.x % kWarp == 0) scratch.values[threadIdx.x / kWarp] = value;
  __syncthreads();
  V max = scratch.values[0];
  for (int w = 1; w < kBlockWarps; ++w) max = larger(max, scratch.values[w]);
  __syncthreads();
  return max;
}

}  // namespace dldl_fast::cuda
