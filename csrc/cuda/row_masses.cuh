// The target's masses of one row, evaluated by the lanes of its group. Most labels have none, so
// that the lanes begin at the first one that has, whoever holds its logit.
#pragma once

#include "cuda/target_distribution.cuh"

namespace dldl_fast::cuda {

template <class A, class Group, bool kEquallySpaced, bool kExtended>
class RowMasses {
 public:
  __device__ __forceinline__ RowMasses(const RowTarget<A>& target, const A* labels, const A* table)
      : target_(target),
        labels_(labels),
        table_(table),
        first_(target.first + Group::lane()),
        last_(target.last) {}

  // Calls f(label, p, p log2 p) for the labels of this lane that have mass.
  template <class F>
  __device__ __forceinline__ void evaluate(const F& f) {
    if (is_density<kExtended>(target_.shape)) {
      const A u = position(first_) - target_.near;
#pragma unroll
      for (int i = 0; i < kKept; ++i) {
        if (i * kLanes > last_ - first_) return;
        const int k = first_ + i * kLanes;
        const A log_p = density_log2<kExtended>(
            target_, kEquallySpaced ? u + A(i * kLanes) : position(k) - target_.near);
        kept_[i] = power_of_2(log_p);
        f(k, kept_[i], kept_[i] * log_p);
      }
    }
    evaluate_rest(f);
  }

  // Calls f(label, p) for the same labels once more.
  template <class F>
  __device__ __forceinline__ void repeat(const F& f) const {
    if (is_density<kExtended>(target_.shape)) {
#pragma unroll
      for (int i = 0; i < kKept; ++i) {
        if (i * kLanes > last_ - first_) return;
        const int k = first_ + i * kLanes;
        f(k, kept_[i]);
      }
    }
    evaluate_rest([&](int k, A p, A) { f(k, p); });
  }

 private:
  static constexpr int kLanes = Group::kLanes;
  // Masses of a density that stay in registers: the usual ones, of a sigma of 2 steps. Others are
  // computed twice.
  static constexpr int kKept = kWarp / kLanes < Group::kSlots ? kWarp / kLanes : Group::kSlots;

  __device__ __forceinline__ A position(int k) const {
    return kEquallySpaced ? static_cast<A>(k) : labels_[k];
  }

  template <class F>
  __device__ __forceinline__ void evaluate_rest(const F& f) const {
    if (is_density<kExtended>(target_.shape)) {
#pragma unroll 1
      for (int k = first_ + kKept * kLanes; k <= last_; k += kLanes) {
        const A log_p = density_log2<kExtended>(target_, position(k) - target_.near);
        const A p = power_of_2(log_p);
        f(k, p, p * log_p);
      }
    } else if (target_.shape == Shape::kPoints) {
#pragma unroll 1
      for (int k = first_; k <= last_; k += kLanes) {
        const A p = point_mass(target_, k);
        if (p > 0) f(k, p, A(0));
      }
    } else if (target_.shape != Shape::kNone) {
#pragma unroll 1
      for (int k = first_; k <= last_; k += kLanes) {
        const A p = table_[k];
        if (p > 0) f(k, p, p_log_p(p));
      }
    }
  }

  const RowTarget<A>& target_;
  const A* labels_;
  const A* table_;
  int first_, last_;  // copies, as the compiler must expect `f` to write to shared memory
  A kept_[kKept];
};

}  // namespace dldl_fast::cuda
