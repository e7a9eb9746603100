// Rows are contiguous, so a tile of several rows is one span of memory: a block copies it to and
// from shared memory in accesses of 16 bytes even where single rows start unaligned.
#pragma once

#include "cuda/inputs.h"
#include "cuda/packet.cuh"
#include "cuda/row_group.cuh"

namespace dldl_fast::cuda {

constexpr int kSector = 32;  // bytes that memory moves together

// Values before the first one on a boundary of kBytes.
template <int kBytes, class T>
__device__ inline int values_to_boundary(const T* p) {
  const auto past = reinterpret_cast<uintptr_t>(p) % kBytes;
  return static_cast<int>((kBytes - past) % kBytes / sizeof(T));
}

// The 16-byte packets of a span, and the values before and after them. The first packet begins a
// sector: else each access of a warp would touch one sector more.
struct Span {
  int head;
  int packets;
  int tail;  // index of the first value after the packets
};

template <class T>
__device__ inline Span span_of(const T* p, int count) {
  constexpr int kSize = Packet<T>::kSize;
  const int head = min(count, values_to_boundary<kSector>(p));
  const int packets = (count - head) / kSize;
  return {head, packets, head + packets * kSize};
}

// Calls f(index) for the values of this thread that no packet holds.
template <class F>
__device__ __forceinline__ void for_edges(const Span& span, int count, int rank, int n_threads,
                                          const F& f) {
  const int n_edges = span.head + count - span.tail;
#pragma unroll 1
  for (int i = rank; i < n_edges; i += n_threads) {
    f(i < span.head ? i : i - span.head + span.tail);
  }
}

// Copies `count` values; thread `rank` of `n_threads` takes every n_threads-th packet. Packets of
// both sides are aligned.
template <class T, class A>
__device__ void load_span(const T* from, int count, int rank, int n_threads, A* to) {
  constexpr int kSize = Packet<T>::kSize;
  constexpr int kInFlight = 4;  // packets that a thread waits for together
  const Span span = span_of(from, count);
  for_edges(span, count, rank, n_threads, [&](int i) { to[i] = to_accumulation(from[i]); });
  const uint4* packets = reinterpret_cast<const uint4*>(from + span.head);
  A* body = to + span.head;
#pragma unroll 1
  for (int first = rank; first < span.packets; first += kInFlight * n_threads) {
    uint4 loaded[kInFlight];
#pragma unroll
    for (int b = 0; b < kInFlight; ++b) {
      const int i = first + b * n_threads;
      if (i < span.packets) loaded[b] = packets[i];
    }
#pragma unroll
    for (int b = 0; b < kInFlight; ++b) {
      const int i = first + b * n_threads;
      if (i >= span.packets) break;
      A values[kSize];
      Packet<T>::unpack(loaded[b], values);
#pragma unroll
      for (int v = 0; v < kSize; v += Packet<A>::kSize) {
        *reinterpret_cast<uint4*>(body + i * kSize + v) = Packet<A>::pack(values + v);
      }
    }
  }
}

template <bool kAligned, class T, class A>
__device__ __forceinline__ void store_packets(const A* from, int n_packets, int rank, int n_threads,
                                              uint4* to) {
  constexpr int kSize = Packet<T>::kSize;
#pragma unroll 1
  for (int i = rank; i < n_packets; i += n_threads) {
    A values[kSize];
#pragma unroll
    for (int v = 0; v < kSize; v += kAligned ? Packet<A>::kSize : 1) {
      if constexpr (kAligned) {
        Packet<A>::unpack(*reinterpret_cast<const uint4*>(from + i * kSize + v), values + v);
      } else {
        values[v] = from[i * kSize + v];
      }
    }
    to[i] = Packet<T>::pack(values);
  }
}

// The reverse. Where logits and result start at different places of a packet, the tile is aligned
// with the logits only.
template <class T, class A>
__device__ void store_span(const A* from, int count, int rank, int n_threads, T* to) {
  const Span span = span_of(to, count);
  for_edges(span, count, rank, n_threads, [&](int i) { to_storage(from[i], to[i]); });
  uint4* packets = reinterpret_cast<uint4*>(to + span.head);
  const A* body = from + span.head;
  if (values_to_boundary<sizeof(uint4)>(body) == 0) {
    store_packets<true, T>(body, span.packets, rank, n_threads, packets);
  } else {
    store_packets<false, T>(body, span.packets, rank, n_threads, packets);
  }
}

// Calls f with a null pointer of the storage type, of those whose accumulation type is A.
template <class A, class F>
__device__ __forceinline__ void with_storage(Storage storage, const F& f) {
  if constexpr (sizeof(A) == sizeof(double)) {
    f(static_cast<double*>(nullptr));
  } else if (storage == Storage::kFloat) {
    f(static_cast<float*>(nullptr));
  } else if (storage == Storage::kBFloat16) {
    f(static_cast<__nv_bfloat16*>(nullptr));
  } else {
    f(static_cast<__half*>(nullptr));
  }
}

// The rows of a tile, and as many as there are groups in the warps that compute them: a group
// beyond the last row follows its warp in every step.
struct TileRows {
  int count;
  int padded;
};

template <class Group>
__device__ inline TileRows tile_rows(int64_t n_rows, int64_t row0, int rows_per_tile) {
  constexpr int kStep = Group::kRowsPerWarp;
  const int64_t left = n_rows - row0;
  const int count = left < rows_per_tile ? static_cast<int>(left) : rows_per_tile;
  return {count, (count + kStep - 1) / kStep * kStep};
}

// Shared memory of a block: what is particular to its kernel, then values of type A: the labels,
// the tile, and a table of a value for each of the tile's where that is asked for.
struct Nothing {};

template <class A, class Front = Nothing>
struct alignas(16) TileMemory {
  Front front;

  __device__ A* labels() { return reinterpret_cast<A*>(this + 1); }
  __device__ A* tile(int n_labels) { return labels() + tile_begin(n_labels); }
  __device__ A* table(int n_labels, int rows) { return labels() + table_begin(n_labels, rows); }

  static size_t bytes(int n_labels, int rows, bool has_table) {
    const int values = table_begin(n_labels, rows) + (has_table ? rows * n_labels : 0);
    return sizeof(TileMemory) + static_cast<size_t>(values) * sizeof(A);
  }

 private:
  static constexpr int kPacket = Packet<A>::kSize;
  static __host__ __device__ int tile_begin(int n_labels) {
    return (n_labels + kPacket - 1) / kPacket * kPacket;
  }
  // Behind the tile, which may start anywhere in its first packet.
  static __host__ __device__ int table_begin(int n_labels, int rows) {
    return tile_begin(n_labels) + rows * n_labels + kPacket;
  }
};

// Loads rows row0.. of the logits, K values apart, into `buffer`, which has room for one packet
// more. Returns where the first row starts: there the packets of both sides are aligned.
template <class A>
__device__ A* load_rows(const Logits& logits, int64_t row0, TileRows rows, int n_labels,
                        A* buffer) {
  A* tile = buffer;
  const int thread = static_cast<int>(threadIdx.x);
  with_storage<A>(logits.storage, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T* from = static_cast<const T*>(logits.data) + row0 * logits.row_stride;
    if (logits.row_stride == n_labels) {
      constexpr int kPacket = Packet<A>::kSize;
      tile += (kPacket - values_to_boundary<kSector>(from) % kPacket) % kPacket;
      load_span(from, rows.count * n_labels, thread, kBlockThreads, tile);
    } else {
      // A warp a row; packets of single rows would not be aligned with their place in the tile.
#pragma unroll 1
      for (int r = thread / kWarp; r < rows.count; r += kBlockWarps) {
#pragma unroll 4
        for (int k = thread % kWarp; k < n_labels; k += kWarp) {
          tile[r * n_labels + k] = to_accumulation(from[r * logits.row_stride + k]);
        }
      }
    }
  });
  const int end = rows.padded * n_labels;
#pragma unroll 1
  for (int i = rows.count * n_labels + thread; i < end; i += kBlockThreads) tile[i] = 0;
  return tile;
}

// Stores a tile into rows row0.. of a contiguous result.
template <class A>
__device__ void store_rows(const A* tile, Storage storage, int64_t row0, int count, int n_labels,
                           void* rows) {
  with_storage<A>(storage, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    store_span(tile, count * n_labels, static_cast<int>(threadIdx.x), kBlockThreads,
               static_cast<T*>(rows) + row0 * n_labels);
  });
}

}  // namespace dldl_fast::cuda
