// The device that an op runs on, for as long as the op lasts: its tensors' device is the current
// one, and its kernels go to the stream that torch uses there.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/tensor.h>

namespace dldl_fast::cuda {

class Device {
 public:
  explicit Device(const torch::stable::Tensor& tensor)
      : guard_(tensor.get_device_index()),
        stream_(static_cast<cudaStream_t>(
            torch::stable::accelerator::getCurrentStream(tensor.get_device_index())
                .nativeHandle())) {}
  cudaStream_t stream() const { return stream_; }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_;
};

}  // namespace dldl_fast::cuda
