// What the ops hand to the row kernels, and the table of kernels that each instruction set fills.
// No torch header here or below: the kernels take raw pointers and can be compiled alone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "options.h"
#include "pool_shape.h"
#include "rows.h"

namespace dldl_fast {

// Storage types of half logits; arithmetic on them is float32.
struct BFloat16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};

// The label grid in float64, and relative to its middle in the type of the accumulation, so that
// labels near 1,000,000 are as exact as labels near 0.
struct LabelGrid {
  const double* labels;     // [K]
  const double* midpoints;  // [K - 1]
  const void* centred;      // [K], float or double
  int64_t size;
  double middle;
  double inverse_step;  // 0 where the labels are not equally spaced
};

// What a chunk of rows adds up to. Chunks do not depend on the number of threads, and are summed
// in their order.
struct ChunkResult {
  double loss = 0;
  double weight = 0;
  int64_t bad_row = -1;
  BadValue bad_value = BadValue::kNone;
  double value = 0;
};

struct LossInputs {
  const void* logits;  // rows of K contiguous values
  int64_t row_stride;
  LabelGrid grid;
  RowValues target;
  RowValues sigma;  // or sigma_number where absent
  double sigma_number;
  RowValues weight;
  RowValues distribution;  // [N, K] contiguous
  LossOptions options;
  double grad_scale;   // factor of all gradients
  bool exceeds_cache;  // rows come from memory, not from a cache
};

// Null pointers where a result is not wanted.
struct LossOutputs {
  void* loss;     // [N], of the accumulation type
  void* grad;     // [N, K], of the type of the logits
  double* terms;  // [3, N]: divergence, regression, expectation
  int64_t n_rows;
};

struct Kernels {
  // Bytes of scratch memory that one call of `loss` or `expectation` needs.
  size_t (*scratch_bytes)(int64_t n_labels);
  ChunkResult (*loss)(const LossInputs&, const LossOutputs&, int64_t begin, int64_t end,
                      void* scratch);
  void (*expectation)(const void* logits, int64_t row_stride, const LabelGrid&, int64_t begin,
                      int64_t end, double* mean, double* std, void* scratch);
  // grad[i] = grad_mean[i] d mean_i / d logits + grad_std[i] d std_i / d logits; either, and `std`
  // above, may be null
  void (*expectation_backward)(const void* logits, int64_t row_stride, const LabelGrid&,
                               int64_t begin, int64_t end, const double* grad_mean,
                               const double* grad_std, void* grad, void* scratch);
  void (*scale)(void* values, int64_t count, double factor);
  // Bytes of scratch memory that one call of the next two needs.
  size_t (*pool_scratch_bytes)(const PoolShape& shape);
  // Planes [begin, end) of x, or images where channels are last. Their choices begin at a byte, or
  // are not wanted where that is null.
  void (*hybrid_pool2d)(const PoolShape& shape, const void* x, int64_t begin, int64_t end,
                        void* pooled, uint8_t* choices, void* scratch);
  void (*hybrid_pool2d_backward)(const PoolShape& shape, const void* grad_pooled,
                                 const uint8_t* choices, int64_t choice_bytes, int64_t begin,
                                 int64_t end, void* grad_x, void* scratch);
};

// Kernels for rows of n_labels, of the best instruction set in use whose vectors they fill.
const Kernels& kernels(Storage storage, int64_t n_labels);

// "avx512", "avx2" or "baseline": the instruction set in use.
const char* cpu_capability();

// One table a storage type, filled by kernels_<instruction set>.cpp.
namespace scalar {
extern const Kernels kTable[4];
}
namespace baseline {
extern const Kernels kTable[4];
}
namespace avx2 {
extern const Kernels kTable[4];
}
namespace avx512 {
extern const Kernels kTable[4];
}

}  // namespace dldl_fast
