// Hybrid pooling in NCHW, windows of 2 x 2. Planes are contiguous, so rows of them are one span: a
// block copies a tile to or from shared memory in accesses of 16 bytes, whatever the plane's size.
#pragma once

#include "cuda/pool_window.cuh"
#include "cuda/row_tile.cuh"

namespace dldl_fast::cuda {

// Images as planes, and how these are spread over tiles.
struct PoolTiles {
  const void* from;  // x, or the gradient of the pooled values
  void* to;          // pooled values, or the gradient of x
  Storage storage;
  int64_t n_planes;
  int64_t height, out_height;
  int width, out_width;
  int size;   // planes of a tile, or the rows of windows of a strip
  int lanes;  // threads for a plane of a tile

  __device__ int64_t windows() const { return out_height * out_width; }
  // Planes as the rows of a tile, each as long as a row of a plane.
  __device__ TileShape shape() const { return {0, width, 0, 0}; }
};

template <class A>
struct PoolMemory {
  static constexpr int kValues = 32768 / static_cast<int>(sizeof(A));

  uint4 tile[kValues * sizeof(A) / sizeof(uint4) + 1];  // it may start anywhere in its first packet
  uint32_t choices[kValues / 16 + 2];  // a byte a window, and those that share a byte with them
  Scratch<A> scratch;

  __device__ A* values() { return reinterpret_cast<A*>(tile); }
  __device__ uint8_t* choice_bytes() { return reinterpret_cast<uint8_t*>(choices); }
};

// Sum of the maxima of `n_windows` windows of consecutive rows; every `step`-th one by this thread.
// Their choices go to `choices`, a byte each.
template <class A>
__device__ __forceinline__ A choose(const A* rows, const PoolTiles& in, int n_windows, int rank,
                                    int step, uint8_t* choices) {
  A sum = 0;
  WindowWalk at(rank, step, in.out_width);
#pragma unroll 1
  for (int r = rank; r < n_windows; r += step, at.advance()) {
    const A* top = rows + 2 * (at.i * in.width + at.j);
    const A* bottom = top + in.width;
    Largest<A> largest(top[0]);
    largest.compare(top[1], 1);
    largest.compare(bottom[0], 2);
    largest.compare(bottom[1], 3);
    sum += largest.value;
    choices[r] = static_cast<uint8_t>(largest.choice);
  }
  return sum;
}

// The reverse: `gradient` where a window chose, 0 elsewhere, also in `n_rest` values behind the
// windows' rows.
template <class A>
__device__ __forceinline__ void scatter(A gradient, const PoolTiles& in, int n_windows, int n_rest,
                                        int rank, int step, const uint8_t* choices, A* rows) {
  const bool is_odd = in.width > 2 * in.out_width;
  WindowWalk at(rank, step, in.out_width);
#pragma unroll 1
  for (int r = rank; r < n_windows; r += step, at.advance()) {
    A* top = rows + 2 * (at.i * in.width + at.j);
    A* bottom = top + in.width;
    const int choice = choices[r];
    top[0] = choice == 0 ? gradient : A(0);
    top[1] = choice == 1 ? gradient : A(0);
    bottom[0] = choice == 2 ? gradient : A(0);
    bottom[1] = choice == 3 ? gradient : A(0);
    if (is_odd && at.j == in.out_width - 1) top[2] = bottom[2] = 0;
  }
  A* rest = rows + 2 * (n_windows / in.out_width) * in.width;
#pragma unroll 1
  for (int i = rank; i < n_rest; i += step) rest[i] = 0;
}

// The first `n_bytes` of choices, by all threads.
__device__ __forceinline__ void store_choices(const uint32_t* choices, int64_t n_bytes,
                                              uint8_t* to) {
#pragma unroll 1
  for (int b = static_cast<int>(threadIdx.x); b < n_bytes; b += kBlockThreads) {
    to[b] = four_choices(choices[b]);
  }
}
__device__ __forceinline__ void load_choices(const uint8_t* from, int n_bytes, uint32_t* choices) {
#pragma unroll 1
  for (int b = static_cast<int>(threadIdx.x); b < n_bytes; b += kBlockThreads) {
    choices[b] = spread_choices(from[b]);
  }
}

// One value of the storage type.
template <class A>
__device__ __forceinline__ void store_value(A value, Storage storage, int64_t i, void* to) {
  with_storage<A>(storage, [&](auto* type) {
    to_storage(value, static_cast<std::remove_pointer_t<decltype(type)>*>(to)[i]);
  });
}
template <class A>
__device__ __forceinline__ A load_value(const void* from, Storage storage, int64_t i) {
  A value = 0;
  with_storage<A>(storage, [&](auto* type) {
    value = to_accumulation(static_cast<const std::remove_pointer_t<decltype(type)>*>(from)[i]);
  });
  return value;
}

// Where in a tile the values from place `i` of `to` on are aligned with it.
template <class A>
__device__ __forceinline__ int begin_of_tile(const PoolTiles& in, int64_t i) {
  int begin = 0;
  with_storage<A>(in.storage, [&](auto* type) {
    begin = begin_in_tile<A>(static_cast<decltype(type)>(in.to) + i);
  });
  return begin;
}

// The planes of a block.
struct PlanesOfTile {
  int64_t first;
  int count, height, windows;

  __device__ explicit PlanesOfTile(const PoolTiles& in)
      : first(static_cast<int64_t>(blockIdx.x) * in.size),
        height(static_cast<int>(in.height)),
        windows(static_cast<int>(in.windows())) {
    const int64_t left = in.n_planes - first;
    count = left < in.size ? static_cast<int>(left) : in.size;
  }
  // In the stream of choices, of which a tile holds whole bytes.
  __device__ int64_t first_byte() const { return first * windows / 4; }
  __device__ int n_bytes() const { return (count * windows + 3) / 4; }
};

template <class A>
__global__ void __launch_bounds__(kBlockThreads)
    hybrid_pool2d_planes(const PoolTiles in, uint8_t* choices) {
  auto& memory = block_memory<PoolMemory<A>>();
  const int thread = static_cast<int>(threadIdx.x);
  const PlanesOfTile planes(in);
  const Logits x{in.from, in.storage, in.n_planes * in.height, in.width};
  const TileRows rows{planes.count * planes.height, planes.count * planes.height};
  const int begin =
      load_rows(x, planes.first * in.height, rows, in.width, in.shape(), memory.values());
  // The last byte may lack windows.
  if (thread < 3) memory.choice_bytes()[planes.count * planes.windows + thread] = 0;
  __syncthreads();
  const int rank = thread % in.lanes, groups = kBlockThreads / in.lanes;
#pragma unroll 1
  for (int first = 0; first < planes.count; first += groups) {
    const int plane = first + thread / in.lanes;
    A sum = 0;
    if (plane < planes.count) {
      sum = choose(memory.values() + begin + plane * planes.height * in.width, in, planes.windows,
                   rank, in.lanes, memory.choice_bytes() + plane * planes.windows);
    }
#pragma unroll 1
    for (int offset = in.lanes / 2; offset > 0; offset /= 2) {
      sum += __shfl_xor_sync(kAllLanes, sum, offset);
    }
    if (plane < planes.count && rank == 0) {
      store_value(sum / static_cast<A>(planes.windows), in.storage, planes.first + plane, in.to);
    }
  }
  if (choices == nullptr) return;
  __syncthreads();
  store_choices(memory.choices, planes.n_bytes(), choices + planes.first_byte());
}

template <class A>
__global__ void __launch_bounds__(kBlockThreads)
    hybrid_pool2d_backward_planes(const PoolTiles in, const uint8_t* choices) {
  auto& memory = block_memory<PoolMemory<A>>();
  const int thread = static_cast<int>(threadIdx.x);
  const PlanesOfTile planes(in);
  load_choices(choices + planes.first_byte(), planes.n_bytes(), memory.choices);
  __syncthreads();
  const int64_t row0 = planes.first * in.height;
  const int begin = begin_of_tile<A>(in, row0 * in.width);
  const int rank = thread % in.lanes, groups = kBlockThreads / in.lanes;
  const int rest = planes.height % 2 * in.width;
#pragma unroll 1
  for (int plane = thread / in.lanes; plane < planes.count; plane += groups) {
    const A gradient = load_value<A>(in.from, in.storage, planes.first + plane);
    scatter(gradient / static_cast<A>(planes.windows), in, planes.windows, rest, rank, in.lanes,
            memory.choice_bytes() + plane * planes.windows,
            memory.values() + begin + plane * planes.height * in.width);
  }
  __syncthreads();
  store_rows(memory.values(), begin, in.storage, row0, planes.count * planes.height, in.width,
             in.shape(), in.to);
}

// A strip of a plane that is too large for a tile: rows of windows from `first` on.
struct Strip {
  int64_t first;
  int rows, windows;

  __device__ Strip(const PoolTiles& in, int64_t first_row) : first(first_row) {
    const int64_t left = in.out_height - first;
    rows = left < in.size ? static_cast<int>(left) : in.size;
    windows = rows * in.out_width;
  }
  __device__ bool is_last(const PoolTiles& in) const { return first + rows == in.out_height; }
};

// The choice of one window, in memory.
template <class A>
__device__ inline uint8_t choice_of(const PoolTiles& in, int64_t plane, int64_t window) {
  const int64_t row = plane * in.height + window / in.out_width * 2;
  const int64_t top = row * in.width + window % in.out_width * 2;
  Largest<A> largest(load_value<A>(in.from, in.storage, top));
  largest.compare(load_value<A>(in.from, in.storage, top + 1), 1);
  largest.compare(load_value<A>(in.from, in.storage, top + in.width), 2);
  largest.compare(load_value<A>(in.from, in.storage, top + in.width + 1), 3);
  return static_cast<uint8_t>(largest.choice);
}

// A block a plane. A byte that windows of two planes share is written with the second one.
template <class A>
__global__ void __launch_bounds__(kBlockThreads)
    hybrid_pool2d_strips(const PoolTiles in, uint8_t* choices) {
  auto& memory = block_memory<PoolMemory<A>>();
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t plane = blockIdx.x, windows = in.windows();
  const Logits x{in.from, in.storage, in.n_planes * in.height, in.width};
  int n_before = static_cast<int>(plane * windows % 4);
  if (choices != nullptr && thread < n_before) {
    memory.choice_bytes()[thread] = choice_of<A>(in, plane - 1, windows - n_before + thread);
  }
  uint8_t* to = choices + plane * windows / 4;
  A sum = 0;
#pragma unroll 1
  for (int64_t first = 0; first < in.out_height; first += in.size) {
    const Strip strip(in, first);
    const TileRows rows{2 * strip.rows, 2 * strip.rows};
    const int begin =
        load_rows(x, plane * in.height + 2 * first, rows, in.width, in.shape(), memory.values());
    const int count = n_before + strip.windows;
    __syncthreads();
    if (thread < 4) memory.choice_bytes()[count + thread] = 0;
    sum += choose(memory.values() + begin, in, strip.windows, thread, kBlockThreads,
                  memory.choice_bytes() + n_before);
    __syncthreads();
    if (choices == nullptr) continue;
    const bool is_end = plane == in.n_planes - 1 && strip.is_last(in);
    const int n_bytes = is_end ? (count + 3) / 4 : count / 4;
    store_choices(memory.choices, n_bytes, to);
    to += n_bytes;
    n_before = count % 4;
    // No other thread reads the first word.
    if (thread == 0) memory.choices[0] = memory.choices[count / 4];
  }
  sum = block_sum(sum, memory.scratch);
  if (thread == 0) store_value(sum / static_cast<A>(windows), in.storage, plane, in.to);
}

template <class A>
__global__ void __launch_bounds__(kBlockThreads)
    hybrid_pool2d_backward_strips(const PoolTiles in, const uint8_t* choices) {
  auto& memory = block_memory<PoolMemory<A>>();
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t plane = blockIdx.x, windows = in.windows();
  const A gradient = load_value<A>(in.from, in.storage, plane) / static_cast<A>(windows);
#pragma unroll 1
  for (int64_t first = 0; first < in.out_height; first += in.size) {
    const Strip strip(in, first);
    const int64_t window0 = plane * windows + first * in.out_width;
    const int n_before = static_cast<int>(window0 % 4);
    load_choices(choices + window0 / 4, (n_before + strip.windows + 3) / 4, memory.choices);
    __syncthreads();
    const int64_t row0 = plane * in.height + 2 * first;
    const int begin = begin_of_tile<A>(in, row0 * in.width);
    const int rest = strip.is_last(in) ? static_cast<int>(in.height % 2) : 0;
    scatter(gradient, in, strip.windows, rest * in.width, thread, kBlockThreads,
            memory.choice_bytes() + n_before, memory.values() + begin);
    __syncthreads();
    store_rows(memory.values(), begin, in.storage, row0, 2 * strip.rows + rest, in.width,
               in.shape(), in.to);
  }
}

}  // namespace dldl_fast::cuda
