// Row kernels of the kinds this project has, for the interpreter to run: cross entropy between
// softmax(x) and a Gaussian about y, and its gradient. Compiled by tests/ptx/test_nvcc.py.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace {

template <typename T>
struct Wide {
  using type = float;
};
template <>
struct Wide<double> {
  using type = double;
};

__device__ float load(float x) { return x; }
__device__ double load(double x) { return x; }
__device__ float load(__half x) { return __half2float(x); }
__device__ float load(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ void store(float* to, float x) { *to = x; }
__device__ void store(double* to, double x) { *to = x; }
__device__ void store(__half* to, float x) { *to = __float2half_rn(x); }
__device__ void store(__nv_bfloat16* to, float x) { *to = __float2bfloat16_rn(x); }

__device__ float exponential(float x) { return __expf(x); }
__device__ double exponential(double x) { return exp(x); }
__device__ float logarithm(float x) { return logf(x); }
__device__ double logarithm(double x) { return log(x); }

template <int kLanes, typename A>
__device__ A sum_lanes(A x, unsigned mask) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(mask, x, step, kLanes);
  return x;
}

template <int kLanes, typename A>
__device__ A max_lanes(A x, unsigned mask) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) {
    const A other = __shfl_xor_sync(mask, x, step, kLanes);
    x = other > x ? other : x;
  }
  return x;
}

struct Target {
  double y;
  double inverse;  // 1 / sigma
};

template <typename A>
__device__ A density(const Target& target, int k) {
  const A u = static_cast<A>((k - target.y) * target.inverse);
  return exponential(A(-0.5) * u * u);
}

}  // namespace

// kLanes lanes have a row, kSteps labels each, all of them in registers.
template <typename T, int kLanes, int kSteps>
__global__ void __launch_bounds__(128)
    registers(const T* __restrict__ x, const double* __restrict__ y, T* __restrict__ gradient,
              T* __restrict__ loss, int64_t rows, int size, double inverse) {
  using A = typename Wide<T>::type;
  const int lane = threadIdx.x % kLanes;
  const int64_t row = (int64_t)blockIdx.x * (blockDim.x / kLanes) + threadIdx.x / kLanes;
  // Lanes of a warp stay together, whatever rows there are.
  const unsigned mask = kLanes == 32 ? ~0u : ((1u << kLanes) - 1) << (threadIdx.x % 32 - lane);
  if (row >= rows) return;
  x += row * size;
  gradient += row * size;
  const Target target = {y[row], inverse};
  A value[kSteps], top = -INFINITY;
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    const int k = i * kLanes + lane;
    value[i] = k < size ? A(load(x[k])) : A(-INFINITY);
    top = value[i] > top ? value[i] : top;
  }
  top = max_lanes<kLanes>(top, mask);
  A sum = 0, mass = 0, dot = 0;
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    const int k = i * kLanes + lane;
    if (k < size) {
      const A p = density<A>(target, k);
      mass += p;
      dot += p * (value[i] - top);
      value[i] = exponential(value[i] - top);
      sum += value[i];
    }
  }
  sum = sum_lanes<kLanes>(sum, mask);
  mass = sum_lanes<kLanes>(mass, mask);
  dot = sum_lanes<kLanes>(dot, mask);
  if (lane == 0) store(loss + row, logarithm(sum) - dot / mass);
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    const int k = i * kLanes + lane;
    if (k < size) store(gradient + k, value[i] / sum - density<A>(target, k) / mass);
  }
}

// A warp has a row and goes through it three times, 16 bytes of it at once.
template <typename T>
__global__ void looped(const T* __restrict__ x, const double* __restrict__ y,
                       T* __restrict__ gradient, T* __restrict__ loss, int64_t rows, int size,
                       double inverse) {
  using A = typename Wide<T>::type;
  constexpr int kVector = 16 / sizeof(T);
  struct alignas(16) Vector {
    T value[kVector];
  };
  const int lane = threadIdx.x % 32;
  const int64_t row = (int64_t)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= rows) return;
  const Vector* from = reinterpret_cast<const Vector*>(x + row * size);
  Vector* to = reinterpret_cast<Vector*>(gradient + row * size);
  const Target target = {y[row], inverse};
  A top = -INFINITY;
  for (int k = lane; k < size / kVector; k += 32) {
    const Vector part = from[k];
#pragma unroll
    for (int i = 0; i < kVector; ++i) top = fmax(A(load(part.value[i])), top);
  }
  top = max_lanes<32>(top, ~0u);
  A sum = 0, mass = 0, dot = 0;
  for (int k = lane; k < size / kVector; k += 32) {
    const Vector part = from[k];
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const A p = density<A>(target, k * kVector + i);
      mass += p;
      dot += p * (A(load(part.value[i])) - top);
      sum += exponential(A(load(part.value[i])) - top);
    }
  }
  sum = sum_lanes<32>(sum, ~0u);
  mass = sum_lanes<32>(mass, ~0u);
  dot = sum_lanes<32>(dot, ~0u);
  if (lane == 0) store(loss + row, logarithm(sum) - dot / mass);
  for (int k = lane; k < size / kVector; k += 32) {
    const Vector part = from[k];
    Vector out;
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const A p = density<A>(target, k * kVector + i);
      store(out.value + i, exponential(A(load(part.value[i])) - top) / sum - p / mass);
    }
    to[k] = out;
  }
}

// A block has a row and keeps it in dynamic shared memory; warps add up through shared memory.
template <typename T>
__global__ void tiled(const T* __restrict__ x, const double* __restrict__ y,
                      T* __restrict__ gradient, T* __restrict__ loss, int64_t rows, int size,
                      double inverse) {
  using A = typename Wide<T>::type;
  extern __shared__ __align__(16) unsigned char memory[];
  A* tile = reinterpret_cast<A*>(memory);
  __shared__ A part[3][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int64_t row = blockIdx.x;
  const Target target = {y[row], inverse};
  A top = -INFINITY;
  for (int k = threadIdx.x; k < size; k += blockDim.x) {
    tile[k] = load(x[row * size + k]);
    top = fmax(tile[k], top);
  }
  top = max_lanes<32>(top, ~0u);
  if (lane == 0) part[0][warp] = top;
  __syncthreads();
  for (int w = 0; w < warps; ++w) top = fmax(part[0][w], top);
  __syncthreads();
  A sum = 0, mass = 0, dot = 0;
  for (int k = threadIdx.x; k < size; k += blockDim.x) {
    const A p = density<A>(target, k);
    mass += p;
    dot += p * (tile[k] - top);
    tile[k] = exponential(tile[k] - top);
    sum += tile[k];
  }
  sum = sum_lanes<32>(sum, ~0u);
  mass = sum_lanes<32>(mass, ~0u);
  dot = sum_lanes<32>(dot, ~0u);
  if (lane == 0) {
    part[0][warp] = sum;
    part[1][warp] = mass;
    part[2][warp] = dot;
  }
  __syncthreads();
  sum = mass = dot = 0;
  for (int w = 0; w < warps; ++w) {
    sum += part[0][w];
    mass += part[1][w];
    dot += part[2][w];
  }
  if (threadIdx.x == 0) store(loss + row, logarithm(sum) - dot / mass);
  for (int k = threadIdx.x; k < size; k += blockDim.x) {
    store(gradient + row * size + k, tile[k] / sum - density<A>(target, k) / mass);
  }
}

#define ARGUMENTS(T) (const T*, const double*, T*, T*, int64_t, int, double)
#define KERNELS(T)                                           \
  template __global__ void registers<T, 32, 4> ARGUMENTS(T); \
  template __global__ void registers<T, 8, 4> ARGUMENTS(T);  \
  template __global__ void looped<T> ARGUMENTS(T);           \
  template __global__ void tiled<T> ARGUMENTS(T);
KERNELS(float)
KERNELS(double)
KERNELS(__half)
KERNELS(__nv_bfloat16)
