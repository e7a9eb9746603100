// Vectors of 8: AVX2 with FMA and F16C.
#if defined(__GNUC__) && defined(__x86_64__)
// Standard headers come before the target is raised: an inline function of theirs that is compiled
// with AVX2 could be the copy that the linker keeps for the whole library.
#include <immintrin.h>

#include <cmath>
#include <cstring>
#include <type_traits>

#include "cpu/kernels.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

#define DLDL_FAST_ISA avx2
#define DLDL_FAST_LANES 8
#include "cpu/kernel_table.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
