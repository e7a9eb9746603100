// Settings of the loss as the ops receive them; the numbers are the positions in options.py.
#pragma once

namespace dldl_fast {

enum class Kind { kGaussian, kGaussianPdf, kGaussianBin, kTwoHot, kOneHot, kLaplace };
enum class Divergence { kKl, kCe, kLikelihood };
enum class Regression { kL1, kL2, kSmoothL1 };
enum class Reduction { kNone, kMean, kSum };
enum class OutOfRange { kError, kClamp, kKeep };

struct LossOptions {
  double lambda;
  double ld_weight;
  double variance_weight;
  Kind kind;
  Divergence divergence;
  Regression regression;
  double smooth_l1_beta;
  Reduction reduction;
  OutOfRange out_of_range;
  bool ignore_nan;
};

}  // namespace dldl_fast
