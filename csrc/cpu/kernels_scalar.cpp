// One value at a time: rows shorter than any vector.
#include <cmath>
#include <cstring>
#include <type_traits>

#include "cpu/kernels.h"

#define DLDL_FAST_ISA scalar
#define DLDL_FAST_LANES 1
#include "cpu/kernel_table.h"
