// What the loss op of every device says of bad rows, and how it scales the gradient.
#pragma once

#include <torch/headeronly/core/ScalarType.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>

#include "options.h"
#include "rows.h"

namespace dldl_fast {

inline std::string format(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", value);
  return text;
}

// The texts of dldl_fast/value_checks.py.
inline std::string describe(BadValue what, const LossOptions& options, double first_label,
                            double last_label) {
  switch (what) {
    case BadValue::kTargetNotFinite:
      return options.ignore_nan
                 ? "target must be finite"
                 : "target must be finite; ignore_nan=True leaves rows with a NaN target out";
    case BadValue::kTargetOutside:
      return "target must lie on the label grid [" + format(first_label) + ", " +
             format(last_label) + "] (out_of_range='clamp' or 'keep' accepts others)";
    case BadValue::kSigma:
      return options.kind == Kind::kGaussianPdf
                 ? "sigma must be finite and > 0 for kind='gaussian_pdf'"
                 : "sigma must be finite and >= 0";
    case BadValue::kDistribution:
      return "target_distribution must hold finite values >= 0";
    case BadValue::kDistributionSum:
      return "target_distribution rows must have a positive finite sum";
    case BadValue::kWeight:
      return "weight must be finite and >= 0";
    case BadValue::kUnderflow:
      return "kind='gaussian_pdf' has no mass on the label grid (S = 0; kind='gaussian' is "
             "normalised) for this target";
    case BadValue::kNone:
      break;
  }
  return "";
}

// dldl_fast/ops.py turns the prefix into the type of the exception.
[[noreturn]] inline void throw_value_error(BadValue what, double value, int64_t row,
                                           const LossOptions& options, double first_label,
                                           double last_label) {
  throw std::runtime_error("ValueError: " + describe(what, options, first_label, last_label) +
                           ", got " + format(value) + " at row " + std::to_string(row));
}

// The power of 2 by which float16 gradients are written too small, if the greatest one that labels
// so far apart can have would overflow.
inline double half_headroom(const LossOptions& options, double label_range) {
  constexpr double kMaxHalf = 65504;
  // p_hat_k |l_k - y_hat| <= range / 4, and |y_hat - y| <= range; p_hat_k (l_k - y_hat)^2 is part
  // of the variance, which is at most range^2 / 4.
  const double slope = options.regression == Regression::kL2 ? 2 * label_range : 1;
  const double bound = options.ld_weight + options.lambda * slope * label_range / 4 +
                       options.variance_weight * label_range * label_range / 4;
  return bound <= kMaxHalf ? 1 : std::exp2(std::floor(std::log2(kMaxHalf / bound)));
}

// How the gradient is written. Where the mean's 1 / N is known before, with it, so that backward
// has nothing to do for an incoming 1. Not in float16, where such gradients would vanish.
struct GradientScale {
  double now;  // factor of what is written
  bool later;  // whether it still lacks one

  GradientScale(const LossOptions& options, torch::headeronly::ScalarType type, bool has_weight,
                int64_t n_rows, double label_range)
      : now(1) {
    const bool is_mean = options.reduction == Reduction::kMean;
    const bool is_half = type == torch::headeronly::ScalarType::Half;
    later = is_half || (is_mean && (has_weight || options.ignore_nan));
    if (is_half) {
      now = half_headroom(options, label_range);
    } else if (is_mean && !later) {
      now = 1 / static_cast<double>(n_rows);
    }
  }
};

}  // namespace dldl_fast
