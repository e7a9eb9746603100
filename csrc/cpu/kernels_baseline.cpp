// Vectors of 4, which every 64-bit CPU has (SSE2, NEON).
#include <cmath>
#include <cstring>
#include <type_traits>

#include "cpu/kernels.h"

#define DLDL_FAST_ISA baseline
#if defined(__GNUC__)
#define DLDL_FAST_LANES 4
#else
#define DLDL_FAST_LANES 1
#endif
#include "cpu/kernel_table.h"
