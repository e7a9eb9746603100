// What the rows of every device have in common: storage types, and what can be wrong with a row.
#pragma once

#include <cstdint>

namespace dldl_fast {

enum class Storage { kFloat, kDouble, kBFloat16, kHalf };

// A per-row argument of either floating type; `data` is null where the argument was left out.
struct RowValues {
  const void* data;
  bool is_double;
  // In the memory of this process.
  double operator[](int64_t i) const {
    return is_double ? static_cast<const double*>(data)[i] : static_cast<const float*>(data)[i];
  }
};

enum class RowStatus {
  kUsed,
  kIgnored,  // NaN target and ignore_nan: no loss, no gradient
  kBad,      // NaN loss and gradient
};

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
