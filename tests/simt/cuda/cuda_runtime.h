// Stands in for the CUDA toolkit's header of this name: what the kernels and launchers of
// csrc/cuda use of it, on the machine of machine.h. Device memory is ordinary memory.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <string>
#include <tuple>
#include <utility>

#include "machine.h"

#define __global__
#define __device__
#define __host__
#define __shared__
#define __forceinline__ inline
#define __launch_bounds__(...)

#define threadIdx (simt::place.thread)
#define blockIdx (simt::place.block)
#define blockDim (simt::place.block_size)
#define gridDim (simt::place.grid_size)

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct float2 {
  float x, y;
};
struct dim3 {
  unsigned x;
};

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess, cudaErrorLaunchFailure };

namespace simt {

inline std::string last_error;

template <class... P, size_t... I>
void call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
  kernel(*static_cast<P*>(arguments[I])...);
}

}  // namespace simt

inline const char* cudaGetErrorString(cudaError_t) { return simt::last_error.c_str(); }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

template <class... P>
cudaError_t cudaLaunchKernel(void (*kernel)(P...), dim3 grid, dim3 block, void** arguments,
                             size_t shared_bytes, cudaStream_t) {
  try {
    simt::launch(grid.x, block.x, shared_bytes,
                 [&] { simt::call(kernel, arguments, std::index_sequence_for<P...>()); });
  } catch (const simt::Error& error) {
    simt::last_error = error.what();
    return cudaErrorLaunchFailure;
  }
  return cudaSuccess;
}

enum cudaMemcpyKind { cudaMemcpyDeviceToHost };
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                                   cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

inline cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t) {
  std::memset(data, value, bytes);
  return cudaSuccess;
}

inline void __syncthreads(simt::Location location = simt::Location::current()) {
  simt::barrier(location);
}
inline void __syncwarp(unsigned mask = 0xffffffffu,
                       simt::Location location = simt::Location::current()) {
  simt::warp_barrier(mask, location);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int offset,
                  simt::Location location = simt::Location::current()) {
  uint64_t bits = 0;
  static_assert(sizeof(value) <= sizeof(bits));
  std::memcpy(&bits, &value, sizeof(value));
  bits = simt::shuffle(mask, bits, simt::lane() ^ offset, location);
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline unsigned long long atomicMin(unsigned long long* p, unsigned long long value) {
  return __atomic_load_n(p, __ATOMIC_RELAXED) <= value
             ? value
             : __atomic_exchange_n(p, value, __ATOMIC_RELAXED);
}

template <class To, class From>
To simt_bits_of(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}
inline float __uint_as_float(unsigned bits) { return simt_bits_of<float>(bits); }
inline unsigned __float_as_uint(float value) { return simt_bits_of<unsigned>(value); }
inline double __hiloint2double(int high, int low) {
  return simt_bits_of<double>(static_cast<uint64_t>(static_cast<unsigned>(high)) << 32 |
                              static_cast<unsigned>(low));
}
inline int __double2loint(double value) { return static_cast<int>(simt_bits_of<uint64_t>(value)); }
inline int __double2hiint(double value) {
  return static_cast<int>(simt_bits_of<uint64_t>(value) >> 32);
}

inline float __log2f(float x) { return std::log2(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline uint4 __ldcs(const uint4* p) { return *p; }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }

// exp(x^2) erfc(x) for x >= 0: by definition where erfc is normal, else by its asymptotic series.
inline double erfcx(double x) {
  if (x < 25) return std::exp(x * x) * std::erfc(x);
  const double u = 0.5 / (x * x);
  const double series = 1 - u * (1 - 3 * u * (1 - 5 * u * (1 - 7 * u * (1 - 9 * u))));
  return series * 0.56418958354775628695 / x;
}
