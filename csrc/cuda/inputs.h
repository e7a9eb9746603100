// Arguments that the launchers of several ops share. All pointers are to device memory.
#pragma once

#include <cstdint>

#include "rows.h"

namespace dldl_fast::cuda {

struct LabelGrid {
  const double* labels;  // [K], increasing
  int size;
  double step;          // 0 where the labels are not known to be equally spaced
  double inverse_step;  // likewise
};

// Rows of K contiguous logits.
struct Logits {
  const void* data;
  Storage storage;
  int64_t n_rows;
  int64_t row_stride;
};

}  // namespace dldl_fast::cuda
