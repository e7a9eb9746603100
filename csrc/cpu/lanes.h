// W values at a time: the vector type of the compiler (W = 4, 8, 16) or a plain number (W = 1),
// and the functions that the kernels need on it. `condition ? a : b`, comparisons and arithmetic
// read the same for both. Everything is local to the instruction set that includes it.
#pragma once

#if defined(__GNUC__)
#define DLDL_FAST_INLINE static inline __attribute__((always_inline))
#define DLDL_FAST_OUTLINE static __attribute__((noinline))
#define DLDL_FAST_MEMBER inline __attribute__((always_inline))
#define DLDL_FAST_LAMBDA __attribute__((always_inline))
#else
#define DLDL_FAST_INLINE static inline
#define DLDL_FAST_OUTLINE static
#define DLDL_FAST_MEMBER inline
#define DLDL_FAST_LAMBDA
#endif

namespace dldl_fast::DLDL_FAST_ISA {
namespace {

#if defined(__GNUC__)
template <class A, int W>
struct VectorOf {
  typedef A type __attribute__((vector_size(sizeof(A) * W)));
};
#else
template <class A, int W>
struct VectorOf;
#endif
template <class A>
struct VectorOf<A, 1> {
  typedef A type;
};

template <class A, int W>
using Vector = typename VectorOf<A, W>::type;
template <int W>
using Float = Vector<float, W>;
template <int W>
using Int = Vector<int32_t, W>;

template <int W>
constexpr int kLogLanes = W == 16  ? 4
                          : W == 8 ? 3
                          : W == 4 ? 2
                                   : 0;

constexpr double kInfinity = __builtin_huge_val();

template <class To, class From>
DLDL_FAST_INLINE To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

template <class A, int W>
DLDL_FAST_INLINE Vector<A, W> broadcast(A value) {
  return Vector<A, W>{} + value;
}

// Lane i holds first + i.
template <class A, int W>
DLDL_FAST_INLINE Vector<A, W> iota() {
  A values[W];
  for (int i = 0; i < W; ++i) values[i] = static_cast<A>(i);
  return bit_cast<Vector<A, W>>(values);
}

template <class V>
DLDL_FAST_INLINE V max(V a, V b) {
  return a < b ? b : a;  // a NaN in a stays, one in b is passed over
}

template <class V>
DLDL_FAST_INLINE V abs(V a) {
  return a < V{} ? -a : a;
}

// ---- Conversions between storage and arithmetic ------------------------------------------------

DLDL_FAST_INLINE float half_to_float(uint16_t bits) {
  // Exponent and mantissa moved into place, then the difference of the biases (112) multiplied in,
  // which makes subnormal halves normal on the way.
  const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fff) << 13;
  const float value = bit_cast<float>(magnitude) * 0x1p112f;
  const uint32_t special = (bits & 0x7c00) == 0x7c00 ? 0x7f800000u : 0u;  // inf, NaN
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  return bit_cast<float>(bit_cast<uint32_t>(value) | special | sign);
}

DLDL_FAST_INLINE uint16_t float_to_half(float value) {
  const uint32_t bits = bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);   // NaN
  if (magnitude >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);  // rounds to inf
  if (magnitude < 0x38800000) {
    // Subnormal: adding 0.5 leaves the rounded multiple of 2^-24 in the low bits.
    const float shifted = bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (bit_cast<uint32_t>(shifted) - 0x3f000000));
  }
  const uint32_t rounded = magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1);
  return static_cast<uint16_t>(sign | (rounded >> 13));
}

DLDL_FAST_INLINE uint16_t float_to_bfloat16(float value) {
  const uint32_t bits = bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);  // ties to even
}

template <int W>
DLDL_FAST_INLINE Float<W> load(const float* p) {
  Float<W> v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

template <int W>
DLDL_FAST_INLINE Vector<double, W> load(const double* p) {
  Vector<double, W> v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

template <int W>
DLDL_FAST_INLINE void store(float* p, Float<W> v) {
  std::memcpy(p, &v, sizeof(v));
}

template <int W>
DLDL_FAST_INLINE void store(double* p, Vector<double, W> v) {
  std::memcpy(p, &v, sizeof(v));
}

template <int W>
DLDL_FAST_INLINE Float<W> load(const BFloat16* p) {
  float values[W];
  for (int i = 0; i < W; ++i) {
    values[i] = bit_cast<float>(static_cast<uint32_t>(p[i].bits) << 16);
  }
  return bit_cast<Float<W>>(values);
}

template <int W>
DLDL_FAST_INLINE void store(BFloat16* p, Float<W> v) {
  const auto bits = bit_cast<Vector<uint32_t, W>>(v);
  const auto rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const auto quiet = v != v ? rounded * 0 + 0x7fc0 : rounded;
  uint32_t values[W];
  std::memcpy(values, &quiet, sizeof(values));
  for (int i = 0; i < W; ++i) p[i].bits = static_cast<uint16_t>(values[i]);
}

template <int W>
DLDL_FAST_INLINE Float<W> load(const Half* p) {
  float values[W];
  for (int i = 0; i < W; ++i) values[i] = half_to_float(p[i].bits);
  return bit_cast<Float<W>>(values);
}

template <int W>
DLDL_FAST_INLINE void store(Half* p, Float<W> v) {
  float values[W];
  std::memcpy(values, &v, sizeof(v));
  for (int i = 0; i < W; ++i) p[i].bits = float_to_half(values[i]);
}

// Values of either floating type, multiplied in float64, in the accumulation type.
template <class A, int W, class T>
DLDL_FAST_INLINE Vector<A, W> load_scaled(const T* p, double scale) {
  A values[W];
  for (int i = 0; i < W; ++i) values[i] = static_cast<A>(static_cast<double>(p[i]) * scale);
  return bit_cast<Vector<A, W>>(values);
}

#if DLDL_FAST_LANES >= 8 && !defined(DLDL_FAST_NO_INTRINSICS)
template <>
DLDL_FAST_MEMBER Float<8> load<8>(const Half* p) {
  return (Float<8>)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
template <>
DLDL_FAST_MEMBER void store<8>(Half* p, Float<8> v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph((__m256)v, 0));
}
#endif
#if DLDL_FAST_LANES == 16 && !defined(DLDL_FAST_NO_INTRINSICS)
template <>
DLDL_FAST_MEMBER Float<16> load<16>(const Half* p) {
  return (Float<16>)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
template <>
DLDL_FAST_MEMBER void store<16>(Half* p, Float<16> v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph((__m512)v, 0));
}
#endif

// ---- Row scalars in float64 --------------------------------------------------------------------

// Element by element.
template <class To, class From>
DLDL_FAST_INLINE To convert(From v) {
#if defined(__GNUC__)
  if constexpr (!std::is_arithmetic_v<From>) return __builtin_convertvector(v, To);
#endif
  if constexpr (std::is_arithmetic_v<From>) return static_cast<To>(v);
}

template <int H>
DLDL_FAST_INLINE Vector<double, H> load_as_double(const float* p) {
  return convert<Vector<double, H>>(load<H>(p));
}
template <int H>
DLDL_FAST_INLINE Vector<double, H> load_as_double(const double* p) {
  return load<H>(p);
}

template <int H>
DLDL_FAST_INLINE void store_converted(float* p, Vector<double, H> v) {
  store<H>(p, convert<Float<H>>(v));
}
template <int H>
DLDL_FAST_INLINE void store_converted(double* p, Vector<double, H> v) {
  store<H>(p, v);
}

template <int H>
DLDL_FAST_INLINE void store_integers(int32_t* p, Int<H> v) {
  std::memcpy(p, &v, sizeof(v));
}

// The values of rows from row0 on, or one that stands in where there are none.
template <int H>
DLDL_FAST_INLINE Vector<double, H> load_rows(const RowValues& values, int64_t row0,
                                             double otherwise) {
  if (values.data == nullptr) return broadcast<double, H>(otherwise);
  return values.is_double ? load_as_double<H>(static_cast<const double*>(values.data) + row0)
                          : load_as_double<H>(static_cast<const float*>(values.data) + row0);
}

// Whether all lanes of a comparison of H doubles hold.
template <int H, class M>
DLDL_FAST_INLINE bool all_lanes(M mask) {
  if constexpr (H == 1) {
    return mask;
  } else {
#if DLDL_FAST_LANES == 8 && !defined(DLDL_FAST_NO_INTRINSICS)
    return _mm256_movemask_pd((__m256d)mask) == 0xf;
#elif DLDL_FAST_LANES == 16 && !defined(DLDL_FAST_NO_INTRINSICS)
    return _mm512_movepi64_mask((__m512i)mask) == 0xff;
#else
    int64_t lanes[H], all = -1;
    std::memcpy(lanes, &mask, sizeof(mask));
    for (int i = 0; i < H; ++i) all &= lanes[i];
    return all != 0;
#endif
  }
}

template <class A, int W>
DLDL_FAST_INLINE A lane_sum(Vector<A, W> v) {
  A lanes[W];
  std::memcpy(lanes, &v, sizeof(v));
  for (int step = W / 2; step > 0; step /= 2) {
    for (int i = 0; i < step; ++i) lanes[i] += lanes[i + step];
  }
  return lanes[0];
}

// ---- Elementary functions ----------------------------------------------------------------------

DLDL_FAST_INLINE double exp(double x) { return std::exp(x); }
DLDL_FAST_INLINE double exp_in_range(double x) { return std::exp(x); }
DLDL_FAST_INLINE double log(double x) { return std::log(x); }

// e^x for -88 <= x <= 0 to within 2 units in the last place, any value below that; NaN stays NaN.
// e^x = 2^n 2^f with integer n and |f| <= 1/2; 2^f by its minimax polynomial, whose terms are
// paired (Estrin) to keep the chain short.
template <class V>
DLDL_FAST_INLINE V exp_in_range(V x) {
  using I = Int<sizeof(V) / sizeof(float)>;
  constexpr float kLog2E = 1.44269504088896341f;
  // 1.5 * 2^23: adding it rounds to an integer and leaves that integer, plus the bias 127 of the
  // exponent, in the low bits.
  constexpr float kRounder = 12582912.0f + 127.0f;
  const V shifted = x * kLog2E + kRounder;
  const V n = shifted - kRounder;
  const V f = x * kLog2E - n;  // with a fused multiply-add, exact up to its one rounding
  const V f2 = f * f;
  const V low = f * 0.6931470037f + 1.0f;
  const V middle = f * 0.05550733581f + 0.2402224243f;
  const V high = f * 0.001326472731f + 0.009671512991f;
  const V p = (high * f2 + middle) * f2 + low;
  return p * bit_cast<V>(bit_cast<I>(shifted) << 23);
}

// The same for all x <= 0: 0 below -87.7, where it would be subnormal.
template <class V>
DLDL_FAST_INLINE V exp(V x) {
  return exp_in_range(max(x, V{} - 88.0f));  // n = -127: the factor 2^n becomes 0
}

// ln x for positive normal x to within 2 units in the last place; inf and NaN give NaN.
// x = 2^e m with m in [sqrt(1/2), sqrt(2)), ln m by its minimax polynomial in m - 1.
template <class V>
DLDL_FAST_INLINE V log(V x) {
  using I = Int<sizeof(V) / sizeof(float)>;
  constexpr int32_t kSqrtHalf = 0x3f3504f3;
  const I offset = bit_cast<I>(x) - kSqrtHalf;
  const I e = offset >> 23;
  const V f = bit_cast<V>(bit_cast<I>(x) - (e << 23)) - 1.0f;
  // A small integer, made a float without a conversion instruction.
  const V exponent = bit_cast<V>(e + 0x4b400000) - 12582912.0f;
  V p = f * 7.0376836292e-2f + -1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f + -1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f + -1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f + -2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  const V z = f * f;
  const V tail = exponent * -2.12194440e-4f + (z * f * p - 0.5f * z);
  return (exponent * 0.693359375f + (f + tail)) + (x - x);
}

// ---- Reductions --------------------------------------------------------------------------------

struct Add {
  template <class V>
  DLDL_FAST_MEMBER V operator()(V a, V b) const {
    return a + b;
  }
};
struct Max {
  template <class V>
  DLDL_FAST_MEMBER V operator()(V a, V b) const {
    return max(a, b);
  }
};

#if defined(__clang__)
#define DLDL_FAST_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#elif defined(__GNUC__)
#define DLDL_FAST_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Int<W>{__VA_ARGS__})
#endif

template <int W>
struct Transpose;

template <>
struct Transpose<1> {
  template <class A, class Op>
  static DLDL_FAST_MEMBER A reduce(const A* v, Op) {
    return v[0];
  }
};

// Shuffles of two vectors inside every quartet of lanes: a0 b0 a1 b1 and a2 b2 a3 b3, then
// a0 a1 b0 b1 and a2 a3 b2 b3; and, for more than one quartet, whole quartets of both.
#if DLDL_FAST_LANES == 4
#define DLDL_FAST_LOW_SINGLES 0, 4, 1, 5
#define DLDL_FAST_HIGH_SINGLES 2, 6, 3, 7
#define DLDL_FAST_LOW_PAIRS 0, 1, 4, 5
#define DLDL_FAST_HIGH_PAIRS 2, 3, 6, 7
#elif DLDL_FAST_LANES == 8
#define DLDL_FAST_LOW_SINGLES 0, 8, 1, 9, 4, 12, 5, 13
#define DLDL_FAST_HIGH_SINGLES 2, 10, 3, 11, 6, 14, 7, 15
#define DLDL_FAST_LOW_PAIRS 0, 1, 8, 9, 4, 5, 12, 13
#define DLDL_FAST_HIGH_PAIRS 2, 3, 10, 11, 6, 7, 14, 15
#define DLDL_FAST_EVEN_QUARTETS 0, 1, 2, 3, 8, 9, 10, 11
#define DLDL_FAST_ODD_QUARTETS 4, 5, 6, 7, 12, 13, 14, 15
#elif DLDL_FAST_LANES == 16
#define DLDL_FAST_LOW_SINGLES 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define DLDL_FAST_HIGH_SINGLES 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
#define DLDL_FAST_LOW_PAIRS 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define DLDL_FAST_HIGH_PAIRS 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define DLDL_FAST_EVEN_QUARTETS 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27
#define DLDL_FAST_ODD_QUARTETS 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31
#endif

#if DLDL_FAST_LANES > 1
template <>
struct Transpose<DLDL_FAST_LANES> {
  static constexpr int W = DLDL_FAST_LANES;
  using F = Float<W>;

  // W vectors in, one out: lane i is the reduction of vector i. A tree that transposes on its way:
  // log2(W) levels of two shuffles and one operation a pair, instead of W horizontal reductions.
  template <class Op>
  static DLDL_FAST_MEMBER F reduce(const F* v, Op op) {
    F a[W / 2], b[W / 4];
    for (int i = 0; i < W / 2; ++i) {
      a[i] = op(DLDL_FAST_SHUFFLE(v[2 * i], v[2 * i + 1], DLDL_FAST_LOW_SINGLES),
                DLDL_FAST_SHUFFLE(v[2 * i], v[2 * i + 1], DLDL_FAST_HIGH_SINGLES));
    }
    for (int i = 0; i < W / 4; ++i) {
      b[i] = op(DLDL_FAST_SHUFFLE(a[2 * i], a[2 * i + 1], DLDL_FAST_LOW_PAIRS),
                DLDL_FAST_SHUFFLE(a[2 * i], a[2 * i + 1], DLDL_FAST_HIGH_PAIRS));
    }
#if DLDL_FAST_LANES == 16
    for (int i = 0; i < 2; ++i)
      b[i] = op(even(b[2 * i], b[2 * i + 1]), odd(b[2 * i], b[2 * i + 1]));
#endif
#if DLDL_FAST_LANES > 4
    return op(even(b[0], b[1]), odd(b[0], b[1]));
#else
    return b[0];
#endif
  }

  // Lane j of vector i and lane i of vector j trade places.
  static DLDL_FAST_MEMBER void square(F* v) {
    for (int i = 0; i < W; i += 4) {
      F a[4];
      for (int j = 0; j < 2; ++j) {
        a[j] = DLDL_FAST_SHUFFLE(v[i + 2 * j], v[i + 2 * j + 1], DLDL_FAST_LOW_SINGLES);
        a[j + 2] = DLDL_FAST_SHUFFLE(v[i + 2 * j], v[i + 2 * j + 1], DLDL_FAST_HIGH_SINGLES);
      }
      for (int j = 0; j < 2; ++j) {
        v[i + 2 * j] = DLDL_FAST_SHUFFLE(a[2 * j], a[2 * j + 1], DLDL_FAST_LOW_PAIRS);
        v[i + 2 * j + 1] = DLDL_FAST_SHUFFLE(a[2 * j], a[2 * j + 1], DLDL_FAST_HIGH_PAIRS);
      }
    }
    // Quartets are 4 x 4 squares by now; the same once more, with quartets in place of lanes.
#if DLDL_FAST_LANES == 8
    for (int j = 0; j < 4; ++j) {
      const F a = v[j], b = v[j + 4];
      v[j] = even(a, b);
      v[j + 4] = odd(a, b);
    }
#elif DLDL_FAST_LANES == 16
    for (int j = 0; j < 4; ++j) {
      const F a = even(v[j], v[j + 4]), b = odd(v[j], v[j + 4]);
      const F c = even(v[j + 8], v[j + 12]), d = odd(v[j + 8], v[j + 12]);
      v[j] = even(a, c);
      v[j + 4] = even(b, d);
      v[j + 8] = odd(a, c);
      v[j + 12] = odd(b, d);
    }
#endif
  }

#if DLDL_FAST_LANES > 4
 private:
  static DLDL_FAST_MEMBER F even(F a, F b) {
    return DLDL_FAST_SHUFFLE(a, b, DLDL_FAST_EVEN_QUARTETS);
  }
  static DLDL_FAST_MEMBER F odd(F a, F b) {
    return DLDL_FAST_SHUFFLE(a, b, DLDL_FAST_ODD_QUARTETS);
  }
#endif
};
#endif

// ---- Rows --------------------------------------------------------------------------------------

// A row of `size` >= W values as full vectors: the last one ends with the row and overlaps its
// predecessor, so that no load or store is masked. `fresh(v)` is 0 in its overlapping lanes.
template <class A, int W>
struct RowVectors {
  int64_t size;
  int64_t count;
  bool overlaps;
  Vector<A, W> last_fresh;

  explicit RowVectors(int64_t n) : size(n), count((n + W - 1) / W), overlaps(n % W != 0) {
    const A overlap = static_cast<A>(count * W - n);
    last_fresh = iota<A, W>() < overlap ? Vector<A, W>{} : Vector<A, W>{} + A(1);
  }
  DLDL_FAST_MEMBER int64_t begin(int64_t v) const { return v + 1 == count ? size - W : v * W; }
};

// Values of scratch that a row takes, a multiple of every vector's size.
DLDL_FAST_INLINE int64_t padded(int64_t n_labels) { return (n_labels + 15) / 16 * 16; }

// Rows of a block: as many as fill a vector of row scalars, while two scratch rows each fit into
// about half a first-level cache; one by one above that.
template <class A, int W>
DLDL_FAST_INLINE int rows_per_block(int64_t n_labels) {
  return 2 * W * padded(n_labels) * static_cast<int64_t>(sizeof(A)) <= 64 * 1024 ? W : 1;
}

template <class A, int W>
size_t scratch_bytes(int64_t n_labels) {
  return 2 * sizeof(A) * static_cast<size_t>(rows_per_block<A, W>(n_labels) * padded(n_labels));
}

}  // namespace
}  // namespace dldl_fast::DLDL_FAST_ISA
