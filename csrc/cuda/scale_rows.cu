#include "cuda/scale_rows.h"

#include <algorithm>

#include "cuda/label_grid.cuh"
#include "cuda/launch.h"
#include "cuda/row_tile.cuh"

namespace dldl_fast::cuda {
namespace {

// Values of a block's tile: enough to fill its accesses.
constexpr int kTileValues = 8192;

template <class A>
struct RowFactor {
  A factor;
  bool left_out;  // the row becomes 0, also where it is NaN
  __device__ A times(A value) const { return left_out ? A(0) : value * factor; }
};

template <class A>
struct ScaleMemory {
  RowFactor<A> rows[kBlockThreads];
};

template <class A>
__device__ RowFactor<A> row_factor(const ScaleInputs& in, int64_t row, double common) {
  const double weight = in.weight.data == nullptr ? 1 : value_at(in.weight, row);
  if (weight == 0) return {0, true};
  // Any other weight is bad: the row holds NaN already, or the zeros of an ignored row.
  if (!(weight > 0 && weight < kInfinity)) return {1, false};
  return {static_cast<A>(common * weight * (in.per_row ? value_at(in.grad_loss, row) : 1)), false};
}

template <class T, class A>
__device__ void scale_span(T* values, int count, int n_labels, const RowFactor<A>* rows) {
  constexpr int kSize = Packet<T>::kSize;
  const int thread = static_cast<int>(threadIdx.x);
  const Span span = span_of(values, count);
  const auto scale_one = [&](int i) {
    to_storage(rows[i / n_labels].times(to_accumulation(values[i])), values[i]);
  };
#pragma unroll 1
  for (int i = thread; i < span.head; i += kBlockThreads) scale_one(i);
#pragma unroll 1
  for (int i = span.tail + thread; i < count; i += kBlockThreads) scale_one(i);
  uint4* packets = reinterpret_cast<uint4*>(values + span.head);
#pragma unroll 1
  for (int i = thread; i < span.packets; i += kBlockThreads) {
    // The intrinsic keeps the access whole: an ordinary one is split among the values' uses.
    const uint4 loaded = __ldcs(packets + i);
    A packet[kSize];
    Packet<T>::unpack(loaded, packet);
    const int first = span.head + i * kSize;
    int row = first / n_labels;
    int row_end = (row + 1) * n_labels - first;
#pragma unroll
    for (int v = 0; v < kSize; ++v) {
      if (v == row_end) {
        ++row;
        row_end += n_labels;
      }
      packet[v] = rows[row].times(packet[v]);
    }
    packets[i] = Packet<T>::pack(packet);
  }
}

template <class T, class A>
__global__ void __launch_bounds__(kBlockThreads)
    scale_tiles(const ScaleInputs in, int rows_per_tile) {
  auto& memory = block_memory<ScaleMemory<A>>();
  const double common =
      (in.scale == nullptr ? 1 : *in.scale) * (in.per_row ? 1 : value_at(in.grad_loss, 0));
  if (in.weight.data == nullptr && !in.per_row && common == 1) return;
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t row0 = static_cast<int64_t>(blockIdx.x) * rows_per_tile;
  const int64_t left = in.n_rows - row0;
  const int count = left < rows_per_tile ? static_cast<int>(left) : rows_per_tile;
  if (thread < count) memory.rows[thread] = row_factor<A>(in, row0 + thread, common);
  __syncthreads();
  scale_span(static_cast<T*>(in.grad) + row0 * in.n_labels, count * in.n_labels, in.n_labels,
             memory.rows);
}

template <class T, class A>
void launch_tiles(const ScaleInputs& in, cudaStream_t stream) {
  const int rows = std::clamp(kTileValues / in.n_labels, 1, kBlockThreads);
  launch("scale_rows", scale_tiles<T, A>, blocks_for(in.n_rows, rows), kBlockThreads,
         sizeof(ScaleMemory<A>), stream, in, rows);
}

}  // namespace

void scale_rows(const ScaleInputs& in, cudaStream_t stream) {
  if (in.n_rows == 0) return;
  if (in.storage == Storage::kDouble) return launch_tiles<double, double>(in, stream);
  dispatch_storage<float>(in.storage,
                          [&](auto type) { launch_tiles<decltype(type), float>(in, stream); });
}

}  // namespace dldl_fast::cuda
