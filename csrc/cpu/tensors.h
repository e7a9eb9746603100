// What the ops on CPU tensors share: chunks of rows on torch's threads, and the label grid.
#pragma once

#include <vector>

#include "cpu/kernels.h"
#include "op_arguments.h"

namespace dldl_fast {

// Rows of a chunk of work: about 16,384 logits, and never a matter of the number of threads.
inline int64_t chunk_rows(int64_t n_labels) {
  const int64_t rows = 16384 / n_labels;
  return rows < 16 ? 16 : rows / 16 * 16;
}

// Call f(chunk, first row, end row, scratch) for every chunk, on torch's threads.
template <class F>
void for_each_chunk(int64_t n_rows, int64_t n_labels, size_t scratch_bytes, const F& f) {
  const int64_t rows = chunk_rows(n_labels);
  const int64_t n_chunks = (n_rows + rows - 1) / rows;
  const auto run = [&](int64_t begin, int64_t end) {
    std::vector<double> scratch(scratch_bytes / sizeof(double) + 1);
    for (int64_t c = begin; c < end; ++c) {
      const int64_t last = (c + 1) * rows;
      f(c, c * rows, last < n_rows ? last : n_rows, scratch.data());
    }
  };
  if (n_chunks == 1) return run(0, 1);
  torch::stable::parallel_for(0, n_chunks, 1, run);
}

// The label grid with what is derived from it in every call: cheaper than any way to keep it.
class Labels {
 public:
  Labels(const Tensor& labels, int64_t n_labels, bool in_double) : size_(n_labels) {
    STD_TORCH_CHECK(labels.scalar_type() == ScalarType::Double && labels.dim() == 1 &&
                        labels.is_contiguous() && labels.size(0) == n_labels && n_labels >= 2,
                    "labels must be a contiguous float64 tensor of shape [", n_labels, "], K >= 2");
    labels_ = labels.const_data_ptr<double>();
    middle_ = (labels_[0] + labels_[size_ - 1]) / 2;
    midpoints_.resize(size_ - 1);
    const double step = (labels_[size_ - 1] - labels_[0]) / static_cast<double>(size_ - 1);
    bool uniform = true;
    for (int64_t k = 0; k + 1 < size_; ++k) {
      midpoints_[k] = (labels_[k] + labels_[k + 1]) / 2;
      const double off = labels_[k] - (labels_[0] + step * static_cast<double>(k));
      uniform = uniform && off < 1e-6 * step && off > -1e-6 * step;
    }
    inverse_step_ = uniform ? 1 / step : 0;
    if (in_double) {
      centred_double_.resize(size_);
      for (int64_t k = 0; k < size_; ++k) centred_double_[k] = labels_[k] - middle_;
    } else {
      centred_float_.resize(size_);
      for (int64_t k = 0; k < size_; ++k) {
        centred_float_[k] = static_cast<float>(labels_[k] - middle_);
      }
    }
  }

  LabelGrid grid() const {
    const void* centred = centred_double_.empty() ? static_cast<const void*>(centred_float_.data())
                                                  : centred_double_.data();
    return {labels_, midpoints_.data(), centred, size_, middle_, inverse_step_};
  }

 private:
  const double* labels_;
  int64_t size_;
  double middle_;
  double inverse_step_;
  std::vector<double> midpoints_;
  std::vector<double> centred_double_;
  std::vector<float> centred_float_;
};

}  // namespace dldl_fast
