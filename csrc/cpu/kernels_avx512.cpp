// Vectors of 16: AVX-512 F, BW, DQ and VL.
#if defined(__GNUC__) && defined(__x86_64__)
// Standard headers come before the target is raised: an inline function of theirs that is compiled
// with AVX-512 could be the copy that the linker keeps for the whole library.
#include <immintrin.h>

#include <cmath>
#include <cstring>
#include <type_traits>

#include "cpu/kernels.h"

#if defined(__clang__)
#pragma clang attribute push(                                                    \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#endif

#define DLDL_FAST_ISA avx512
#define DLDL_FAST_LANES 16
#include "cpu/kernel_table.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
