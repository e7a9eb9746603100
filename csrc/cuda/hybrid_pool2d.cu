#include "cuda/hybrid_pool2d.h"

#include <algorithm>
#include <limits>

#include "cuda/hybrid_pool2d_any.cuh"
#include "cuda/hybrid_pool2d_channels.cuh"
#include "cuda/hybrid_pool2d_tiles.cuh"
#include "cuda/launch.h"

namespace dldl_fast::cuda {
namespace {

constexpr int64_t kMaxInt = std::numeric_limits<int>::max();

int64_t planes_of(const PoolShape& shape) { return shape.images * shape.channels; }

// Calls f with a value of the storage type and one of the accumulation type.
template <class F>
void dispatch_types(Storage storage, const F& f) {
  if (storage == Storage::kDouble) return f(double(), double());
  dispatch_storage<float>(storage, [&](auto type) { f(type, float()); });
}

int floor_power_of_2(int64_t value, int limit) {
  int power = 1;
  while (power < limit && 2 * power <= value) power *= 2;
  return power;
}

// Whole planes where a block's tile has room for several, else strips of one.
template <class A>
struct TilesLaunch {
  static constexpr int kValues = PoolMemory<A>::kValues;

  TilesLaunch(const PoolShape& shape, Storage storage, const void* from, void* to)
      : tiles{from,
              to,
              storage,
              planes_of(shape),
              shape.height,
              shape.out_height(),
              static_cast<int>(shape.width),
              static_cast<int>(shape.out_width()),
              0,
              0} {
    const int64_t size = shape.height * shape.width;
    whole = size <= kValues / 8;
    if (whole) {
      tiles.size = floor_power_of_2(kValues / size, kBlockThreads);
      // Where planes begin in one bank, a warp has only one of them at a time.
      tiles.lanes = size % kWarp == 0 ? kWarp : kBlockThreads / tiles.size;
    } else {
      tiles.size = static_cast<int>((kValues / shape.width - 1) / 2);
    }
  }
  static bool serves(const PoolShape& shape) {
    return shape.kernel_size == 2 && !shape.channels_last && shape.width <= kValues / 3;
  }
  int64_t blocks() const { return whole ? blocks_for(tiles.n_planes, tiles.size) : tiles.n_planes; }

  PoolTiles tiles;
  bool whole;
};

template <class A>
void launch_tiles(const PoolShape& shape, Storage storage, const void* x, void* pooled,
                  uint8_t* choices, cudaStream_t stream) {
  const TilesLaunch<A> plan(shape, storage, x, pooled);
  launch("hybrid_pool2d", plan.whole ? hybrid_pool2d_planes<A> : hybrid_pool2d_strips<A>,
         plan.blocks(), kBlockThreads, sizeof(PoolMemory<A>), stream, plan.tiles, choices);
}

template <class A>
void launch_backward_tiles(const PoolShape& shape, Storage storage, const void* grad_pooled,
                           const uint8_t* choices, void* grad_x, cudaStream_t stream) {
  const TilesLaunch<A> plan(shape, storage, grad_pooled, grad_x);
  launch("hybrid_pool2d_backward",
         plan.whole ? hybrid_pool2d_backward_planes<A> : hybrid_pool2d_backward_strips<A>,
         plan.blocks(), kBlockThreads, sizeof(PoolMemory<A>), stream, plan.tiles, choices);
}

// Whether channels can be read a packet at a time, and windows be counted in 32 bits.
bool channels_serve(const PoolShape& shape, Storage storage, const void* x, const void* choices) {
  const int64_t packet = storage == Storage::kFloat ? 4 : 8;
  const auto is_aligned = [](const void* p, size_t bytes) {
    return reinterpret_cast<uintptr_t>(p) % bytes == 0;
  };
  return shape.kernel_size == 2 && shape.channels_last && storage != Storage::kDouble &&
         shape.channels % packet == 0 && is_aligned(x, 16) && is_aligned(choices, 2) &&
         shape.channels <= kMaxInt && shape.height * shape.width <= kMaxInt;
}

PoolChannels channels_of(const PoolShape& shape) {
  return {static_cast<int>(shape.channels),
          static_cast<int>(shape.height),
          static_cast<int>(shape.width),
          static_cast<int>(shape.out_height()),
          static_cast<int>(shape.out_width()),
          static_cast<int>(blocks_for(shape.channels, kBlockChannels))};
}

PoolSizes sizes_of(const PoolShape& shape) {
  constexpr int64_t kMany = 1024;  // windows that a whole block shares
  const bool whole_block = !shape.channels_last && shape.windows_of_plane() > kMany;
  const int slices = whole_block ? kBlockThreads : shape.channels_last ? kBlockWarps : kWarp;
  return {planes_of(shape),    shape.channels,
          shape.height,        shape.width,
          shape.out_height(),  shape.out_width(),
          shape.kernel_size,   shape.channels_last,
          shape.choice_bits(), slices};
}

}  // namespace

void hybrid_pool2d(const void* x, Storage storage, const PoolShape& shape, void* pooled,
                   uint8_t* choices, cudaStream_t stream) {
  if (planes_of(shape) == 0) return;
  if (storage == Storage::kDouble && TilesLaunch<double>::serves(shape)) {
    return launch_tiles<double>(shape, storage, x, pooled, choices, stream);
  }
  if (storage != Storage::kDouble && TilesLaunch<float>::serves(shape)) {
    return launch_tiles<float>(shape, storage, x, pooled, choices, stream);
  }
  if (channels_serve(shape, storage, x, choices)) {
    const PoolChannels channels = channels_of(shape);
    return dispatch_storage<float>(storage, [&](auto type) {
      using T = decltype(type);
      constexpr size_t kBytes = ChannelThread<T>::kSlices * kBlockChannels * sizeof(float);
      launch("hybrid_pool2d", hybrid_pool2d_channels<T>, shape.images * channels.blocks,
             kBlockThreads, kBytes, stream, static_cast<const T*>(x), channels,
             static_cast<T*>(pooled), choices);
    });
  }
  const PoolSizes sizes = sizes_of(shape);
  dispatch_types(storage, [&](auto type, auto accumulation) {
    using T = decltype(type);
    using A = decltype(accumulation);
    launch("hybrid_pool2d", hybrid_pool2d_any<T, A>,
           blocks_for(sizes.n_planes, kBlockThreads / sizes.slices), kBlockThreads,
           kBlockThreads * sizeof(double), stream, static_cast<const T*>(x), sizes,
           static_cast<T*>(pooled), choices);
  });
}

void hybrid_pool2d_backward(const void* grad_pooled, Storage storage, const PoolShape& shape,
                            const uint8_t* choices, void* grad_x, cudaStream_t stream) {
  if (planes_of(shape) == 0) return;
  if (storage == Storage::kDouble && TilesLaunch<double>::serves(shape)) {
    return launch_backward_tiles<double>(shape, storage, grad_pooled, choices, grad_x, stream);
  }
  if (storage != Storage::kDouble && TilesLaunch<float>::serves(shape)) {
    return launch_backward_tiles<float>(shape, storage, grad_pooled, choices, grad_x, stream);
  }
  if (channels_serve(shape, storage, grad_x, choices)) {
    const PoolChannels channels = channels_of(shape);
    return dispatch_storage<float>(storage, [&](auto type) {
      using T = decltype(type);
      launch("hybrid_pool2d_backward", hybrid_pool2d_backward_channels<T>,
             shape.images * channels.blocks, kBlockThreads, kBlockChannels * sizeof(float), stream,
             static_cast<const T*>(grad_pooled), channels, choices, static_cast<T*>(grad_x));
    });
  }
  const PoolSizes sizes = sizes_of(shape);
  dispatch_types(storage, [&](auto type, auto accumulation) {
    using T = decltype(type);
    using A = decltype(accumulation);
    const int64_t values = sizes.n_planes * sizes.height * sizes.width;
    launch("hybrid_pool2d_backward", hybrid_pool2d_backward_any<T, A>,
           blocks_for(values, kBlockThreads), kBlockThreads, 0, stream,
           static_cast<const T*>(grad_pooled), sizes, choices, static_cast<T*>(grad_x));
  });
}

}  // namespace dldl_fast::cuda
