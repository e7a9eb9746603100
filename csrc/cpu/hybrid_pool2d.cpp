// hybrid_pool2d and hybrid_pool2d_backward for CPU tensors.
#include <torch/csrc/stable/library.h>

#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "cpu/huge_pages.h"
#include "cpu/kernels.h"
#include "pooled_tensors.h"

namespace dldl_fast {
namespace {

// Calls f(begin, end, first byte of its choices, scratch) on torch's threads, for ranges of planes,
// or of images where channels are last.
template <class F>
void for_each_range(const PoolShape& shape, size_t scratch_bytes, const F& f) {
  constexpr int64_t kValues = 16384;  // of a range at least
  const int64_t n_parts = shape.channels_last ? shape.images : shape.images * shape.channels;
  const int64_t windows =
      shape.channels_last ? shape.windows_of_plane() * shape.channels : shape.windows_of_plane();
  const int64_t values = windows * shape.kernel_size * shape.kernel_size;
  // Choices of 4 parts fill whole bytes, whatever their number of bits.
  constexpr int64_t kStep = 4;
  const int64_t n_steps = (n_parts + kStep - 1) / kStep;
  const int64_t grain = kValues / (kStep * values) + 1;
  torch::stable::parallel_for(0, n_steps, grain, [&](int64_t first, int64_t last) {
    std::vector<double> scratch(scratch_bytes / sizeof(double) + 1);
    const int64_t begin = kStep * first, end = kStep * last < n_parts ? kStep * last : n_parts;
    f(begin, end, begin * windows * shape.choice_bits() / 8, scratch.data());
  });
}

// Vectors as wide as what is compared together: the columns of a row, or the channels of a window.
const Kernels& kernels_for(const PoolShape& shape, Storage storage) {
  if (shape.channels_last) return kernels(storage, shape.channels);
  int64_t lanes = 1;
  while (lanes < 2 * shape.out_width() && lanes < 16) lanes *= 2;
  return kernels(storage, lanes);
}

std::tuple<Tensor, std::optional<Tensor>> hybrid_pool2d(const Tensor& given_x, int64_t kernel_size,
                                                        bool needs_grad) {
  const PoolInput in(given_x, kernel_size);
  const PoolShape& shape = in.shape;
  Tensor pooled = new_tensor(in.x, in.x.scalar_type(), {shape.images, shape.channels});
  std::optional<Tensor> choices;
  if (needs_grad) choices = new_tensor(in.x, ScalarType::Byte, {shape.choice_bytes()});
  if (shape.images * shape.channels > 0) {
    const void* x = in.x.const_data_ptr();
    void* to = pooled.mutable_data_ptr();
    uint8_t* kept = needs_grad ? choices->mutable_data_ptr<uint8_t>() : nullptr;
    const Kernels& kernel = kernels_for(shape, storage_of("x", in.x));
    for_each_range(shape, kernel.pool_scratch_bytes(shape),
                   [&](int64_t begin, int64_t end, int64_t first_byte, void* scratch) {
                     kernel.hybrid_pool2d(shape, x, begin, end, to,
                                          needs_grad ? kept + first_byte : nullptr, scratch);
                   });
  }
  return {std::move(pooled), std::move(choices)};
}

Tensor hybrid_pool2d_backward(const Tensor& given_grad, const Tensor& choices, int64_t height,
                              int64_t width, int64_t kernel_size, bool channels_last) {
  const PoolGradient in(given_grad, choices, height, width, kernel_size, channels_last);
  const PoolShape& shape = in.shape;
  Tensor grad_x = in.new_grad_x();
  const int64_t n_planes = shape.images * shape.channels;
  if (n_planes > 0) {
    const void* grad = in.grad_pooled.const_data_ptr();
    const uint8_t* kept = choices.const_data_ptr<uint8_t>();
    void* to = grad_x.mutable_data_ptr();
    prefer_huge_pages(to, static_cast<size_t>(n_planes * height * width) *
                              static_cast<size_t>(grad_x.element_size()));
    const Kernels& kernel = kernels_for(shape, storage_of("grad_pooled", in.grad_pooled));
    for_each_range(shape, kernel.pool_scratch_bytes(shape),
                   [&](int64_t begin, int64_t end, int64_t first_byte, void* scratch) {
                     kernel.hybrid_pool2d_backward(shape, grad, kept + first_byte,
                                                   shape.choice_bytes() - first_byte, begin, end,
                                                   to, scratch);
                   });
  }
  return grad_x;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dldl_fast, CPU, m) {
  m.impl("hybrid_pool2d", TORCH_BOX(&hybrid_pool2d));
  m.impl("hybrid_pool2d_backward", TORCH_BOX(&hybrid_pool2d_backward));
}

}  // namespace dldl_fast
