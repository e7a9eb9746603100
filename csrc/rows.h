// What the rows of every device have in common: storage types, and what can be wrong with a row.
#pragma once

namespace dldl_fast {

enum class Storage { kFloat, kDouble, kBFloat16, kHalf };

// In the order of the checks: the smallest one names what is wrong with a row first.
enum class BadValue {
  kNone,
  kTargetNotFinite,
  kTargetOutside,
  kSigma,
  kDistribution,
  kDistributionSum,
  kWeight,
  kUnderflow,
};

}  // namespace dldl_fast
