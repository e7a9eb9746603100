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

// How rows lie in a tile.
struct TileShape {
  int rows;
  int stride;               // values from one row to the next
  int padding;              // 16-byte packets of the tile between them
  unsigned packet_inverse;  // 2^32 / packets of a row of logits, rounded up; 0 without padding

  // Packets of padding before packet i of the logits.
  __device__ int padding_before(int i) const {
    return padding * static_cast<int>(__umulhi(static_cast<unsigned>(i), packet_inverse));
  }
};

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
__device__ void load_span(const T* from, int count, int rank, int n_threads, const TileShape& shape,
                          A* to) {
  constexpr int kSize = Packet<T>::kSize;
  constexpr int kParts = kSize / Packet<A>::kSize;
  constexpr int kInFlight = 4;  // packets that a thread waits for together
  const Span span = span_of(from, count);
  for_edges(span, count, rank, n_threads, [&](int i) { to[i] = to_accumulation(from[i]); });
  const uint4* packets = reinterpret_cast<const uint4*>(from + span.head);
  uint4* body = reinterpret_cast<uint4*>(to + span.head);
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
      for (int p = 0; p < kParts; ++p) {
        body[i * kParts + shape.padding_before(i) + p] =
            Packet<A>::pack(values + p * Packet<A>::kSize);
      }
    }
  }
}

template <bool kAligned, class T, class A>
__device__ __forceinline__ void store_packets(const A* from, int n_packets, int rank, int n_threads,
                                              const TileShape& shape, uint4* to) {
  constexpr int kSize = Packet<T>::kSize;
  constexpr int kParts = kAligned ? kSize / Packet<A>::kSize : kSize;
#pragma unroll 1
  for (int i = rank; i < n_packets; i += n_threads) {
    A values[kSize];
#pragma unroll
    for (int p = 0; p < kParts; ++p) {
      if constexpr (kAligned) {
        const uint4* parts = reinterpret_cast<const uint4*>(from);
        Packet<A>::unpack(parts[i * kParts + shape.padding_before(i) + p],
                          values + p * Packet<A>::kSize);
      } else {
        values[p] = from[i * kParts + p];
      }
    }
    to[i] = Packet<T>::pack(values);
  }
}

// The reverse, from value `begin` of an aligned buffer on. Where logits and result start at
// different places of a packet, the tile is aligned with the logits only.
template <class T, class A>
__device__ void store_span(const A* buffer, int begin, int count, int rank, int n_threads,
                           const TileShape& shape, T* to) {
  const A* from = buffer + begin;
  const Span span = span_of(to, count);
  for_edges(span, count, rank, n_threads, [&](int i) { to_storage(from[i], to[i]); });
  uint4* packets = reinterpret_cast<uint4*>(to + span.head);
  const A* body = from + span.head;
  if ((begin + span.head) % Packet<A>::kSize == 0) {
    store_packets<true, T>(body, span.packets, rank, n_threads, shape, packets);
  } else {
    store_packets<false, T>(body, span.packets, rank, n_threads, shape, packets);
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

// Shared memory of a block, values of type A: the labels, the tile, and a table of a value for each
// of the tile's where that is asked for.
template <class A>
struct TileMemory {
  A* labels;
  A* tile;
  A* table;

  __device__ TileMemory(void* begin, int n_labels, const TileShape& shape)
      : labels(static_cast<A*>(begin)),
        tile(labels + tile_begin(n_labels)),
        table(labels + table_begin(n_labels, shape.rows * shape.stride)) {}

  static size_t bytes(int n_labels, int rows, int stride, bool has_table) {
    const int values = table_begin(n_labels, rows * stride) + (has_table ? rows * n_labels : 0);
    return static_cast<size_t>(values) * sizeof(A);
  }

 private:
  static constexpr int kPacket = Packet<A>::kSize;
  static __host__ __device__ int tile_begin(int n_labels) {
    return (n_labels + kPacket - 1) / kPacket * kPacket;
  }
  // Behind the tile, which may start anywhere in its first packet.
  static __host__ __device__ int table_begin(int n_labels, int tile_values) {
    return tile_begin(n_labels) + tile_values + kPacket;
  }
};

// At which value of a tile a span that starts at `p` begins: so that packets of both are aligned.
template <class A, class T>
__device__ inline int begin_in_tile(const T* p) {
  constexpr int kPacket = Packet<A>::kSize;
  return (kPacket - values_to_boundary<kSector>(p) % kPacket) % kPacket;
}

// Loads rows row0.. of the logits, K values apart, into `buffer`, which has room for one packet
// more. Returns at which value of it the first row begins.
template <class A>
__device__ int load_rows(const Logits& logits, int64_t row0, TileRows rows, int n_labels,
                         const TileShape& shape, A* buffer) {
  int begin = 0;
  const int thread = static_cast<int>(threadIdx.x);
  with_storage<A>(logits.storage, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T* from = static_cast<const T*>(logits.data) + row0 * logits.row_stride;
    if (logits.row_stride == n_labels) {
      begin = begin_in_tile<A>(from);
      load_span(from, rows.count * n_labels, thread, kBlockThreads, shape, buffer + begin);
    } else {
      // A warp a row; packets of single rows would not be aligned with their place in the tile.
#pragma unroll 1
      for (int r = thread / kWarp; r < rows.count; r += kBlockWarps) {
#pragma unroll 4
        for (int k = thread % kWarp; k < n_labels; k += kWarp) {
          buffer[r * shape.stride + k] = to_accumulation(from[r * logits.row_stride + k]);
        }
      }
    }
  });
  const int end = rows.padded * shape.stride;
#pragma unroll 1
  for (int i = rows.count * shape.stride + thread; i < end; i += kBlockThreads)
    buffer[begin + i] = 0;
  return begin;
}

// Stores the rows that begin at value `begin` of `buffer` into rows row0.. of a contiguous result.
template <class A>
__device__ void store_rows(const A* buffer, int begin, Storage storage, int64_t row0, int count,
                           int n_labels, const TileShape& shape, void* rows) {
  with_storage<A>(storage, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    store_span(buffer, begin, count * n_labels, static_cast<int>(threadIdx.x), kBlockThreads, shape,
               static_cast<T*>(rows) + row0 * n_labels);
  });
}

}  // namespace dldl_fast::cuda
