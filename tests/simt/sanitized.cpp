// The kernels under AddressSanitizer, UndefinedBehaviorSanitizer or ThreadSanitizer, with every
// buffer exactly as large as its contents; and kernels with a mistake that each must find.
#include <cstdio>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/expectation.h"
#include "cuda/hybrid_pool2d.h"
#include "cuda/label_distribution_loss.h"
#include "cuda/row_group.cuh"
#include "cuda/scale_rows.h"

namespace dldl_fast::cuda {
namespace {

size_t size_of(Storage storage) {
  return storage == Storage::kDouble ? 8 : storage == Storage::kFloat ? 4 : 2;
}

// Memory that ends where its contents end, and starts `offset` values behind a boundary.
class Buffer {
 public:
  Buffer(Storage storage, size_t count, size_t offset)
      : bytes_((count + offset) * size_of(storage)), begin_(offset * size_of(storage)) {}
  void* get() { return bytes_.data() + begin_; }
  // Small numbers in every type.
  void fill(std::mt19937& random) {
    for (size_t i = 0; i < bytes_.size(); ++i) {
      bytes_[i] = static_cast<unsigned char>(random() % 64);
    }
  }

 private:
  std::vector<unsigned char> bytes_;
  size_t begin_;
};

struct Case {
  Storage storage;
  int n_rows, n_labels;
  Kind kind;
  bool has_histograms;
  size_t offset;
  int64_t row_gap;
  Divergence divergence = Divergence::kKl;
  double variance_weight = 0;
};

void run(const Case& c) {
  std::mt19937 random(c.n_labels);
  std::vector<double> labels(c.n_labels), target(c.n_rows), sigma(c.n_rows), weight(c.n_rows);
  for (int k = 0; k < c.n_labels; ++k) labels[k] = k + (c.offset > 0 ? 0.1 * (k % 2) : 0);
  for (int i = 0; i < c.n_rows; ++i) {
    target[i] = random() % c.n_labels;
    sigma[i] = i % 3 == 0 ? 0.1 : 1.5;
    weight[i] = i % 5;
  }
  std::vector<float> histograms(static_cast<size_t>(c.n_rows) * c.n_labels, 1.0f);
  const int64_t stride = c.n_labels + c.row_gap;
  Buffer logits(c.storage, static_cast<size_t>(c.n_rows - 1) * stride + c.n_labels, c.offset);
  logits.fill(random);
  Buffer grad(c.storage, static_cast<size_t>(c.n_rows) * c.n_labels, 0);

  LossInputs in{};
  in.logits = {logits.get(), c.storage, c.n_rows, stride};
  in.grid = {labels.data(), c.n_labels, c.offset > 0 ? 0.0 : 1.0, c.offset > 0 ? 0.0 : 1.0};
  in.target = {target.data(), true};
  in.sigma = {sigma.data(), true};
  in.weight = {weight.data(), true};
  if (c.has_histograms) in.distribution = {histograms.data(), false};
  in.options = {1,
                1,
                c.variance_weight,
                c.kind,
                c.divergence,
                Regression::kSmoothL1,
                1,
                Reduction::kMean,
                OutOfRange::kError,
                false};
  in.grad_scale = 1;
  double loss = 0, scale = 0;
  std::vector<double> terms(3 * c.n_rows), workspace(loss_workspace_doubles(in));
  unsigned long long bad_row = 0;
  label_distribution_loss(in, {&loss, grad.get(), &scale, terms.data(), &bad_row, workspace.data()},
                          nullptr);
  if (bad_row != kNoBadRow) throw std::runtime_error("a bad row was reported");

  const float grad_loss = 2;
  scale_rows(
      {grad.get(), c.storage, c.n_rows, c.n_labels, {&grad_loss, false}, false, &scale, in.weight},
      nullptr);
  expectation(in.logits, in.grid, target.data(), sigma.data(), nullptr);
  expectation_backward(in.logits, in.grid, target.data(), sigma.data(), grad.get(), nullptr);
}

// Images that start `offset` values behind a boundary.
void run_pool(Storage storage, const PoolShape& shape, size_t offset) {
  std::mt19937 random(static_cast<unsigned>(shape.width));
  const auto planes = static_cast<size_t>(shape.images * shape.channels);
  const auto values = planes * static_cast<size_t>(shape.height * shape.width);
  Buffer x(storage, values, offset), pooled(storage, planes, offset), grad(storage, values, offset);
  x.fill(random);
  std::vector<uint8_t> choices(static_cast<size_t>(shape.choice_bytes()));
  hybrid_pool2d(x.get(), storage, shape, pooled.get(), nullptr, nullptr);
  hybrid_pool2d(x.get(), storage, shape, pooled.get(), choices.data(), nullptr);
  hybrid_pool2d_backward(pooled.get(), storage, shape, choices.data(), grad.get(), nullptr);
}

void run_pools() {
  for (const Storage storage :
       {Storage::kFloat, Storage::kDouble, Storage::kBFloat16, Storage::kHalf}) {
    for (const bool channels_last : {false, true}) {
      // Whole planes, and blocks of channels; bytes that pixels share; strips; other kernel sizes.
      run_pool(storage, {2, 136, 7, 7, 2, channels_last}, channels_last ? 0 : 1);
      run_pool(storage, {1, 9, 8, 6, 2, channels_last}, 1);
      run_pool(storage, {1, 3, 35, 47, 2, channels_last}, 3);
      run_pool(storage, {1, 2, 71, 131, 2, channels_last}, 0);
      for (const int64_t k : {1, 3, 5, 17}) {
        run_pool(storage, {1, 3, 2 * k + 1, 3 * k, k, channels_last}, 0);
      }
    }
  }
}

void run_all() {
  run_pools();
  // Each group of lanes and the rows beyond them, with a ragged tile; each kind; each type.
  for (const int n_labels : {3, 17, 40, 101, 120, 200, 401, 500, 530, 1030}) {
    const int n_rows = n_labels <= 120 ? 37 : 3;
    run({Storage::kFloat, n_rows, n_labels, Kind::kGaussian, false, 0, 0});
    run({Storage::kBFloat16, n_rows, n_labels, Kind::kGaussianBin, false, 3, 0});
    run({Storage::kFloat, n_rows, n_labels, Kind::kLaplace, false, 1, 0, Divergence::kLikelihood,
         0.1});
  }
  for (const Storage storage :
       {Storage::kFloat, Storage::kDouble, Storage::kBFloat16, Storage::kHalf}) {
    for (const Kind kind : {Kind::kGaussian, Kind::kGaussianPdf, Kind::kGaussianBin, Kind::kTwoHot,
                            Kind::kOneHot, Kind::kLaplace}) {
      run({storage, 9, 21, kind, kind == Kind::kOneHot, 1, 0});
    }
    run({storage, 5, 21, Kind::kGaussian, true, 0, 3});
  }
}

// Each thread writes a value, and one of another warp reads it without waiting.
__global__ void missing_barrier(float* out) {
  auto& values = block_memory<float[kBlockThreads]>();
  const unsigned i = threadIdx.x;
  values[i] = static_cast<float>(i);
  out[i] = values[kBlockThreads - 1 - i];
}

__global__ void barrier(float* out) {
  auto& values = block_memory<float[kBlockThreads]>();
  const unsigned i = threadIdx.x;
  values[i] = static_cast<float>(i);
  __syncthreads();
  out[i] = values[kBlockThreads - 1 - i];
}

__global__ void barrier_for_half() {
  if (threadIdx.x < kBlockThreads / 2) __syncthreads();
}

__global__ void shuffle_with_even_lanes(float* out) {
  float value = 1;
  if (threadIdx.x % 2 == 0) value = __shfl_xor_sync(kAllLanes, value, 2);
  out[threadIdx.x] = value;
}

__global__ void read_beyond_input(const float* in, float* out) {
  out[threadIdx.x] = in[threadIdx.x + 1];
}

__global__ void write_beyond_shared(float* out) {
  auto& values = block_memory<float[kBlockThreads + 1]>();
  values[threadIdx.x + 1] = 1;
  out[threadIdx.x] = values[threadIdx.x + 1];
}

void run_by_name(const std::string& name) {
  std::vector<float> in(kBlockThreads), out(kBlockThreads);
  const auto run_kernel = [&](const auto& body) {
    simt::launch(1, kBlockThreads, kBlockThreads * sizeof(float), body);
  };
  if (name == "kernels") {
    run_all();
  } else if (name == "barrier") {
    run_kernel([&] { barrier(out.data()); });
  } else if (name == "missing_barrier") {
    run_kernel([&] { missing_barrier(out.data()); });
  } else if (name == "barrier_for_half") {
    run_kernel(barrier_for_half);
  } else if (name == "shuffle_with_even_lanes") {
    run_kernel([&] { shuffle_with_even_lanes(out.data()); });
  } else if (name == "read_beyond_input") {
    run_kernel([&] { read_beyond_input(in.data(), out.data()); });
  } else if (name == "write_beyond_shared") {
    run_kernel([&] { write_beyond_shared(out.data()); });
  } else {
    throw std::runtime_error("unknown name: " + name);
  }
}

}  // namespace
}  // namespace dldl_fast::cuda

int main(int, char** arguments) {
  try {
    dldl_fast::cuda::run_by_name(arguments[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  std::puts("finished");
}
