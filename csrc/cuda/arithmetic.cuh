// Arithmetic of the accumulation types float and double. Exponentials and logarithms are to the
// base 2, which is what the hardware computes.
#pragma once

#include <cuda_runtime.h>

#include <cmath>

namespace dldl_fast::cuda {

constexpr double kInfinity = __builtin_huge_val();
constexpr double kLog2E = 1.44269504088896340736;
constexpr double kLn2 = 0.69314718055994530942;

// One instruction; results below 2^-126 are 0.
__device__ inline float power_of_2(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}
__device__ inline double power_of_2(double x) { return exp2(x); }

template <class A>
__device__ __forceinline__ A exponential_of(A x) {
  return power_of_2(x * static_cast<A>(kLog2E));
}

__device__ inline float log_2(float x) { return __log2f(x); }
__device__ inline double log_2(double x) { return log2(x); }

// 0 for values above 2^126.
__device__ inline float reciprocal(float x) { return __fdividef(1.0f, x); }
__device__ inline double reciprocal(double x) { return 1 / x; }

// NaN gives way to the other value: a row with NaN logits is NaN by its exponentials.
__device__ inline float larger(float a, float b) { return fmaxf(a, b); }
__device__ inline double larger(double a, double b) { return fmax(a, b); }

__device__ inline float smaller(float a, float b) { return fminf(a, b); }
__device__ inline double smaller(double a, double b) { return fmin(a, b); }
__device__ inline float magnitude(float a) { return fabsf(a); }
__device__ inline double magnitude(double a) { return fabs(a); }

template <class A>
__device__ inline A not_a_number() {
  return static_cast<A>(__builtin_nan(""));
}

__device__ inline bool is_finite(double value) { return value - value == 0; }

}  // namespace dldl_fast::cuda
