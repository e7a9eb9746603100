// Normal masses of the cells of equally spaced labels, several cells at a time, to about 1e-10 of
// the tail beside them: for targets of kind gaussian_bin in float32. Those of other grids and
// widths are in target_distribution.h.
#pragma once

#include "cpu/lanes.h"

namespace dldl_fast::DLDL_FAST_ISA {
namespace {

// 2^x for -1000 <= x <= 0, as exp_in_range of floats.
template <int H>
DLDL_FAST_INLINE Vector<double, H> exp2_in_range(Vector<double, H> x) {
  using D = Vector<double, H>;
  using I = Vector<int64_t, H>;
  // 1.5 * 2^52: adding it rounds to an integer and leaves that integer, plus the bias 1023 of the
  // exponent, in the low bits.
  constexpr double kRounder = 6755399441055744.0 + 1023.0;
  const D shifted = x + kRounder;
  const D f = x - (shifted - kRounder);
  const D f2 = f * f;
  const D low = f * 0.6931471807284532 + 0.9999999999616821;
  const D second = f * 0.05550410353428088 + 0.24022651198156533;
  const D third = f * 0.0013333922579636332 + 0.009618027253781362;
  const D high = f * 1.5201917886776196e-05 + 0.0001546929111147921;
  const D p = low + f2 * (second + f2 * (third + f2 * high));
  return p * bit_cast<D>(bit_cast<I>(shifted) << 52);
}

// erfc(z / sqrt 2), both tails of the normal distribution beyond z, for z >= 0; beyond 12, where it
// is 4e-33, as at 12. e^(z^2 / 2) erfc(z / sqrt 2) is smooth in (z - 4) / (z + 4).
template <int H>
DLDL_FAST_INLINE Vector<double, H> two_tails(Vector<double, H> z) {
  using D = Vector<double, H>;
  constexpr double kHalfLog2E = 0.72134752044448170368;
  z = z < D{} + 12 ? z : D{} + 12;
  const D t = (z - 4) / (z + 4);
  D p = t * 1.686967840351986e-05 + 5.454418501407032e-05;
  p = p * t + -9.720969890327312e-05;
  p = p * t + -0.000375009870971068;
  p = p * t + 0.00127938899130525;
  p = p * t + 0.0010154830241115866;
  p = p * t + -0.01698443042078668;
  p = p * t + 0.06172956320310624;
  p = p * t + -0.14341479981921013;
  p = p * t + 0.24875851230497897;
  p = p * t + -0.3407954433823421;
  p = p * t + 0.1888212825967581;
  return p * exp2_in_range<H>(z * z * -kHalfLog2E);
}

// Twice the mass between z and z_next > z, from y outwards, so that nothing cancels in the tails.
template <int H>
DLDL_FAST_INLINE Vector<double, H> cell_mass(Vector<double, H> z, Vector<double, H> z_next,
                                             Vector<double, H> tail, Vector<double, H> next_tail) {
  using D = Vector<double, H>;
  const D one_sided = z < D{} ? next_tail - tail : tail - next_tail;
  const D two_sided = 2 - tail - next_tail;
  return z < D{} ? (z_next > D{} ? two_sided : one_sided) : one_sided;
}

// The masses of W neighbouring cells of a target.
template <int W>
struct NormalCells {
  static constexpr int H = W / 2;  // doubles as wide as W floats
  using D = Vector<double, H>;

  double place;         // where y lies, in labels
  double width;         // of a cell, in sigma
  double inverse_peak;  // one over the mass of the label nearest to y

  NormalCells(double place, double width, double nearest) : place(place), width(width) {
    const D z = D{} + (nearest - 0.5 - place) * width, z_next = z + width;
    const D mass = cell_mass<H>(z, z_next, two_tails<H>(abs(z)), two_tails<H>(abs(z_next)));
    inverse_peak = 1 / lane_sum<double, H>(mass * (1.0 / H));
  }

  // Of the labels from first on, relative to the nearest one's.
  DLDL_FAST_MEMBER Float<W> masses(int64_t first) const {
    const D z = (iota<double, H>() + (static_cast<double>(first) - 0.5 - place)) * width;
    double tails[W + H];
    for (int i = 0; i <= W; i += H) store<H>(tails + i, two_tails<H>(abs(D(z + i * width))));
    float p[W];
    for (int i = 0; i < W; i += H) {
      const D lower = z + i * width;
      const D mass = cell_mass<H>(lower, lower + width, load<H>(tails + i), load<H>(tails + i + 1));
      store_converted<H>(p + i, D(mass * inverse_peak));
    }
    return load<W>(p);
  }
};

}  // namespace
}  // namespace dldl_fast::DLDL_FAST_ISA
