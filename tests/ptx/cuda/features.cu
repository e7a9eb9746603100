// Functions of the CUDA library and parts of the language that make nvcc emit opcodes of many
// kinds. Compiled by tests/ptx/test_nvcc.py.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace {

__constant__ double table[5] = {1.5, -2.25, 3.0, 0.125, 1e300};

__device__ __noinline__ double polynomial(const double* coefficients, double x) {
  return fma(fma(coefficients[2], x, coefficients[1]), x, coefficients[0]);
}

__device__ __noinline__ double choose(int kind, double x) {
  switch (kind) {
    case 0:
      return x + 1;
    case 1:
      return x * 3;
    case 2:
      return x / 7;
    case 3:
      return sqrt(fabs(x));
    case 4:
      return x - 11;
    case 5:
      return fmin(x, 2.0);
    default:
      return -x;
  }
}

}  // namespace

extern "C" {

__global__ void functions_float(const float* x, float* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float v = x[i];
  float* to = out + i;
  const float results[] = {
      expf(v),
      exp2f(v),
      logf(fabsf(v)),
      log1pf(fabsf(v)),
      erff(v),
      erfcf(v),
      tanhf(v),
      sqrtf(fabsf(v)),
      rsqrtf(fabsf(v) + 1),
      v / 3.3f,
      __fdividef(v, 3.3f),
      1 / (v + 20),
      rintf(v),
      floorf(v),
      roundf(v),
      copysignf(2.f, v),
      expm1f(v),
      normcdff(v),
      powf(fabsf(v), 1.7f),
      cbrtf(v),
      fmodf(v, 0.7f),
      __saturatef(v),
      hypotf(v, 2.f),
      (float)(int)v,
  };
  for (int k = 0; k < 24; ++k) to[k * n] = results[k];
}

__global__ void functions_double(const double* x, double* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const double v = x[i];
  double* to = out + i;
  const double results[] = {
      exp(v),
      exp2(v),
      log(fabs(v)),
      log1p(fabs(v)),
      erf(v),
      erfc(v),
      normcdf(v),
      sqrt(fabs(v)),
      rsqrt(fabs(v) + 1),
      v / 3.3,
      rint(v),
      floor(v),
      expm1(v),
      copysign(2., v),
      tanh(v),
      (double)(float)v,
      pow(fabs(v), 1.7),
      (double)(int64_t)(v * 1e6),
  };
  for (int k = 0; k < 18; ++k) to[k * n] = results[k];
}

__global__ void integers(const int* x, int* out, int n) {
  const int i = threadIdx.x, v = x[i];
  const unsigned u = v;
  int* to = out + i;
  to[0 * n] = v / 7;
  to[1 * n] = v % (i + 1);
  to[2 * n] = u / 10u;
  to[3 * n] = __popc(v) + 100 * __clz(v);
  to[4 * n] = (int)((int64_t)v * v >> 20);
  to[5 * n] = min(v, i) ^ max(v, 3);
  to[6 * n] = __brev(v);
  to[7 * n] = __ffs(v);
  to[8 * n] = __funnelshift_l(v, u * 3, i);
  to[9 * n] = __byte_perm(v, i, 0x5140);
  to[10 * n] = (int)((int64_t)v * 1000003 % 97);
  to[11 * n] = __mulhi(v, 123456789);
  to[12 * n] = abs(v) >> (i & 7);
}

__global__ void language(const double* x, double* out, int n, int local_index) {
  const int i = threadIdx.x;
  double coefficients[3] = {x[i], 2.0, table[i % 5]};
  out[i] = polynomial(coefficients, 0.5);
  out[n + i] = choose(i % 8, x[i]);
  double values[16];
  for (int k = 0; k < 16; ++k) values[k] = x[(i + k) % n];
  out[2 * n + i] = values[(local_index + i) & 15];
}

__global__ void warps(const int* x, int* out, int n) {
  const int i = threadIdx.x, v = x[i];
  out[i] = __ballot_sync(~0u, v > 0);
  out[n + i] = __any_sync(~0u, v == 1) + 2 * __all_sync(~0u, v > -1000);
  out[2 * n + i] = __shfl_sync(~0u, v, 3, 16);
  out[3 * n + i] = __shfl_up_sync(~0u, v, 1);
  out[4 * n + i] = __shfl_down_sync(~0u, v, 1, 16);
}

// The last block adds up what all blocks have left.
__global__ void last_block(const float* x, volatile float* partial, unsigned* ticket, float* out) {
  __shared__ float sum[1];
  __shared__ bool is_last;
  if (threadIdx.x == 0) sum[0] = 0;
  __syncthreads();
  atomicAdd(sum, x[blockIdx.x * blockDim.x + threadIdx.x]);
  __syncthreads();
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum[0];
    __threadfence();
    is_last = atomicAdd(ticket, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (is_last && threadIdx.x == 0) {
    float total = 0;
    for (unsigned b = 0; b < gridDim.x; ++b) total += partial[b];
    *out = total;
  }
}

__global__ void halves(const __half2* x, __half2* out, const __nv_bfloat162* y,
                       __nv_bfloat162* out_y, int n) {
  const int i = threadIdx.x;
  const __half2 a = x[i];
  out[i] = __hfma2(a, a, __hadd2(a, a));
  out[n + i] = __hmax2(a, __hneg2(a));
  out[2 * n + i] = __hmul2(a, __floats2half2_rn(0.5f, 3.f));
#if __CUDA_ARCH__ >= 800
  const __nv_bfloat162 b = y[i];
  out_y[i] = __hfma2(b, b, b);
  out_y[n + i] = __hmin2(b, __hneg2(b));
  out_y[2 * n + i] = __floats2bfloat162_rn(__low2float(b) * 3.f, __high2float(b) + 1.f);
#endif
}

}  // extern "C"
