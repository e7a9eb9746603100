// The launchers of csrc/cuda for ctypes. Each returns null, or what went wrong.
#include <exception>
#include <string>

#include "cuda/expectation.h"
#include "cuda/hybrid_pool2d.h"
#include "cuda/label_distribution_loss.h"
#include "cuda/scale_rows.h"

using namespace dldl_fast::cuda;

namespace {

template <class F>
const char* message_of(const F& f) {
  static std::string message;
  try {
    f();
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
  return nullptr;
}

}  // namespace

extern "C" {

size_t launch_loss_workspace_doubles(const LossInputs* in) { return loss_workspace_doubles(*in); }

const char* launch_label_distribution_loss(const LossInputs* in, const LossOutputs* out) {
  return message_of([&] { label_distribution_loss(*in, *out, nullptr); });
}

const char* launch_scale_rows(const ScaleInputs* in) {
  return message_of([&] { scale_rows(*in, nullptr); });
}

const char* launch_expectation(const Logits* logits, const LabelGrid* grid, double* mean,
                               double* std) {
  return message_of([&] { expectation(*logits, *grid, mean, std, nullptr); });
}

const char* launch_expectation_backward(const Logits* logits, const LabelGrid* grid,
                                        const double* grad_mean, const double* grad_std,
                                        void* grad) {
  return message_of(
      [&] { expectation_backward(*logits, *grid, grad_mean, grad_std, grad, nullptr); });
}

const char* launch_hybrid_pool2d(const void* x, int storage, const dldl_fast::PoolShape* shape,
                                 void* pooled, uint8_t* choices) {
  return message_of([&] {
    hybrid_pool2d(x, static_cast<dldl_fast::Storage>(storage), *shape, pooled, choices, nullptr);
  });
}

const char* launch_hybrid_pool2d_backward(const void* grad_pooled, int storage,
                                          const dldl_fast::PoolShape* shape, const uint8_t* choices,
                                          void* grad_x) {
  return message_of([&] {
    hybrid_pool2d_backward(grad_pooled, static_cast<dldl_fast::Storage>(storage), *shape, choices,
                           grad_x, nullptr);
  });
}

}  // extern "C"
