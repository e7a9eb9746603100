// The kernel text at 16 lanes, as AVX-512 compiles it, on any processor: the compiler makes vectors
// of 16 from smaller ones. Compared with the same text at one lane, which the other tests compare
// with the reference. Prints the cases and the worst difference; exit status 1 if it is too large.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include "cpu/kernels.h"

#define DLDL_FAST_ISA sixteen
#define DLDL_FAST_LANES 16
#define DLDL_FAST_NO_INTRINSICS
#include "cpu/kernel_table.h"

using namespace dldl_fast;

namespace {

double worst = 0;

// Relative to 1 and to the value; equal infinities and two NaNs do not differ.
void compare(double got, double want, double tolerance, const char* what, int64_t n_labels) {
  if (got == want || (std::isnan(got) && std::isnan(want))) return;
  const double off = std::abs(got - want) / (tolerance * (1 + std::abs(want)));
  if (!(off <= 1)) std::printf("%s, K = %ld: %g, not %g\n", what, long(n_labels), got, want);
  worst = std::max(worst, std::isnan(off) ? std::numeric_limits<double>::infinity() : off);
}

struct Case {
  int64_t n_rows, n_labels;
  Storage storage;
  LossOptions options;
  bool row_sigma, given, bent;
};

template <class T>
double value(const T& stored) {
  return static_cast<double>(sixteen::load<1>(&stored));
}

template <class T>
void run(const Case& c) {
  const int64_t n = c.n_rows, k = c.n_labels;
  std::mt19937 random(static_cast<unsigned>(1000 * n + k));
  std::normal_distribution<float> normal(0, 3);
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<double> labels(k), midpoints(k - 1), target(n), sigma(n), distribution(n * k);
  const double inverse_step = static_cast<double>(k - 1) / 40;
  for (int64_t i = 0; i < k; ++i) {
    const double place = i / inverse_step;
    labels[i] = c.bent ? place * (0.5 + place / 80) : place;
  }
  for (int64_t i = 0; i + 1 < k; ++i) midpoints[i] = (labels[i] + labels[i + 1]) / 2;
  const double middle = (labels[0] + labels[k - 1]) / 2;
  std::vector<float> centred(k);
  for (int64_t i = 0; i < k; ++i) centred[i] = static_cast<float>(labels[i] - middle);
  std::vector<T> logits(n * k);
  for (T& x : logits) sixteen::store<1>(&x, normal(random));
  for (double& y : target) y = labels[k - 1] * uniform(random);
  for (double& s : sigma) s = 0.3 + 3 * uniform(random);
  for (double& p : distribution) p = uniform(random);
  target[n / 2] = std::numeric_limits<double>::quiet_NaN();  // a bad row, or an ignored one

  const LabelGrid grid{labels.data(), midpoints.data(),         centred.data(), k,
                       middle,        c.bent ? 0 : inverse_step};
  const LossInputs in{logits.data(),
                      k,
                      grid,
                      {target.data(), true},
                      {c.row_sigma ? sigma.data() : nullptr, true},
                      2.0,
                      {nullptr, true},
                      {c.given ? distribution.data() : nullptr, true},
                      c.options,
                      1.0,
                      n % 2 == 0};
  std::vector<double> terms[2];
  std::vector<float> loss[2];
  std::vector<T> grad[2], grad_expectation[2];
  std::vector<double> mean[2], std[2];
  ChunkResult sums[2];
  const Kernels* tables[2] = {&sixteen::kTable[int(c.storage)], &scalar::kTable[int(c.storage)]};
  for (int i = 0; i < 2; ++i) {
    terms[i].resize(3 * n), loss[i].resize(n), grad[i].resize(n * k);
    mean[i].resize(n), std[i].resize(n), grad_expectation[i].resize(n * k);
    std::vector<double> scratch(tables[i]->scratch_bytes(k) / sizeof(double) + 1);
    const LossOutputs out{loss[i].data(), grad[i].data(), terms[i].data(), n};
    sums[i] = tables[i]->loss(in, out, 0, n, scratch.data());
    tables[i]->expectation(logits.data(), k, grid, 0, n, mean[i].data(), std[i].data(),
                           scratch.data());
    tables[i]->expectation_backward(logits.data(), k, grid, 0, n, mean[i].data(), sigma.data(),
                                    grad_expectation[i].data(), scratch.data());
  }
  const double storage_tolerance = sizeof(T) == 2 ? 1.6e-2 : 1e-4;
  compare(double(sums[0].bad_row), double(sums[1].bad_row), 0.1, "bad row", k);
  compare(sums[0].weight, sums[1].weight, 1e-9, "weight", k);
  for (int64_t i = 0; i < n; ++i) {
    compare(loss[0][i], loss[1][i], 1e-5, "loss", k);
    compare(mean[0][i], mean[1][i], 1e-5, "mean", k);
    compare(std[0][i], std[1][i], 1e-4, "standard deviation", k);
  }
  for (int64_t i = 0; i < 3 * n; ++i) compare(terms[0][i], terms[1][i], 1e-5, "term", k);
  for (int64_t i = 0; i < n * k; ++i) {
    compare(value(grad[0][i]), value(grad[1][i]), storage_tolerance, "gradient", k);
    compare(value(grad_expectation[0][i]), value(grad_expectation[1][i]),
            storage_tolerance * labels[k - 1], "gradient of the expectation", k);
  }
}

}  // namespace

int main() {
  int count = 0;
  for (const int64_t n_labels : {16, 17, 31, 32, 41, 47, 48, 49, 64, 101, 401, 513}) {
    for (int kind = 0; kind < 7; ++kind) {  // the last: a given distribution
      for (int variant = 0; variant < 6; ++variant) {
        const bool given = kind == 6;
        const LossOptions options{0.7,
                                  1.3,
                                  variant == 2 ? 0.1 : 0,
                                  static_cast<Kind>(given ? 0 : kind),
                                  static_cast<Divergence>(variant % 4 % 3),
                                  static_cast<Regression>(variant % 3),
                                  1.5,
                                  Reduction::kNone,
                                  OutOfRange::kError,
                                  variant > 3};
        // Full blocks and a rest; the bad row is in a block of its own or among others.
        const Case c{variant % 2 == 0 ? 48 : 37,
                     n_labels,
                     Storage::kFloat,
                     options,
                     variant > 1,
                     given,
                     variant == 5};
        run<float>(c);
        Case halved = c;
        halved.storage = Storage::kBFloat16;
        run<BFloat16>(halved);
        halved.storage = Storage::kHalf;
        run<Half>(halved);
        count += 3;
      }
    }
  }
  std::printf("%d cases, worst difference %.2g of what is allowed\n", count, worst);
  return worst <= 1 ? 0 : 1;
}
