// Hybrid pooling: the mean over windows of their maxima (Section 3.4), and its gradient.
//
// Of equal values the first one of a window is its choice, of several NaN the last one, as in
// torch's max_pool2d. With channels last, W channels of a window are compared at a time; else
// windows side by side where the kernel size is 2, and one at a time where it is not.
#pragma once

#include "cpu/choice_bits.h"
#include "pool_shape.h"

namespace dldl_fast::DLDL_FAST_ISA {
namespace {

// The largest value of W windows so far, and which one it is.
template <class A, int W>
struct Largest {
  Vector<A, W> value;
  Int<W> choice{};

  DLDL_FAST_MEMBER explicit Largest(Vector<A, W> first) : value(first) {}
  DLDL_FAST_MEMBER void compare(Vector<A, W> next, int32_t number) {
    const auto taken = (value < next) | (next != next);
    value = taken ? next : value;
    choice = taken ? Int<W>{} + number : choice;
  }
};

// Bit i of the result is the sign of lane i.
template <int W>
DLDL_FAST_INLINE uint32_t signs(Int<W> v) {
#if DLDL_FAST_LANES == 16 && !defined(DLDL_FAST_NO_INTRINSICS)
  if constexpr (W == 16) return _mm512_movepi32_mask((__m512i)v);
#endif
  int32_t lanes[W];
  std::memcpy(lanes, &v, sizeof(v));
  uint32_t bits = 0;
  for (int i = 0; i < W; ++i) bits |= (static_cast<uint32_t>(lanes[i]) >> 31) << i;
  return bits;
}

// In which lanes windows are: one after another, or as `every_other` leaves them.
enum class Order { kStraight, kEveryOther };

// Bits 2 i and 2 i + 1 of the result are the signs of window i in `low` and in `high`.
template <int W, Order kOrder>
DLDL_FAST_INLINE uint32_t signs_in_turn(Int<W> low, Int<W> high) {
#if DLDL_FAST_LANES >= 8 && !defined(DLDL_FAST_NO_INTRINSICS)
  if constexpr (W == 8) {
    // 16 bits a lane, four of `low` beside four of `high` in each half of the register; of the
    // upper bytes, one for each window and sign, those of one half go where the other's do not.
    const __m256i words = _mm256_packs_epi32((__m256i)low, (__m256i)high);
    const __m256i order =
        kOrder == Order::kStraight
            ? _mm256_setr_epi8(1, 9, 3, 11, 5, 13, 7, 15, -1, -1, -1, -1, -1, -1, -1, -1,  //
                               -1, -1, -1, -1, -1, -1, -1, -1, 1, 9, 3, 11, 5, 13, 7, 15)
            : _mm256_setr_epi8(1, 9, 3, 11, -1, -1, -1, -1, 5, 13, 7, 15, -1, -1, -1, -1,  //
                               -1, -1, -1, -1, 1, 9, 3, 11, -1, -1, -1, -1, 5, 13, 7, 15);
    const auto bits =
        static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_shuffle_epi8(words, order)));
    return (bits | bits >> 16) & 0xffff;
  }
#endif
  const auto spread = [](uint32_t bits) {  // bit i to bit 2 i
    bits = (bits | bits << 8) & 0x00ff00ff;
    bits = (bits | bits << 4) & 0x0f0f0f0f;
    bits = (bits | bits << 2) & 0x33333333;
    return (bits | bits << 1) & 0x55555555;
  };
  const uint32_t bits = spread(signs<W>(low)) | spread(signs<W>(high)) << 1;
  if constexpr (W == 8 && kOrder == Order::kEveryOther) {  // windows 0, 1, 4, 5, 2, 3, 6, 7
    return (bits & 0xf00f) | (bits & 0x00f0) << 4 | (bits & 0x0f00) >> 4;
  }
  return bits;
}

// Choices of the first n_windows lanes.
template <int W>
DLDL_FAST_INLINE void append_choices(BitWriter& writer, Int<W> choice, int n_windows,
                                     int choice_bits) {
  if constexpr (W > 1) {
    if (choice_bits == 2) {
      const uint32_t fresh = ~0u >> (32 - 2 * n_windows);
      const uint32_t bits = signs_in_turn<W, Order::kStraight>(choice << 31, choice << 30);
      return writer.append(bits & fresh, 2 * n_windows);
    }
  }
  int32_t lanes[W];
  std::memcpy(lanes, &choice, sizeof(lanes));
  for (int i = 0; i < n_windows; ++i) writer.append(static_cast<uint32_t>(lanes[i]), choice_bits);
}

// Choices of W windows, to be compared with 0, 1, 2, ... times a unit. Those of 2 bits stay where
// they are in their word, since a lane's own shift is slow without AVX2.
template <int W>
struct Choices {
  Int<W> choice;
  Int<W> unit;

  DLDL_FAST_MEMBER Choices(BitReader& reader, int n_windows, int choice_bits) {
    if constexpr (W > 1) {
      if (choice_bits == 2) {
        int32_t units[W];
        for (int i = 0; i < W; ++i) units[i] = static_cast<int32_t>(1u << 2 * i);
        unit = bit_cast<Int<W>>(units);
        choice = static_cast<int32_t>(reader.next(2 * n_windows)) & (unit | unit << 1);
        return;
      }
    }
    const uint32_t mask = ~0u >> (32 - choice_bits);
    int32_t lanes[W] = {};
    for (int i = 0; i < n_windows; ++i) {
      lanes[i] = static_cast<int32_t>(reader.next(choice_bits) & mask);
    }
    choice = bit_cast<Int<W>>(lanes);
    unit = Int<W>{} + 1;
  }
};

// W values from p on, of which no more than `n` may be read.
template <class A, int W, class T>
DLDL_FAST_INLINE Vector<A, W> load_up_to(const T* p, int64_t n) {
  if (n >= W) return load<W>(p);
  T values[W] = {};
  for (int64_t i = 0; i < n; ++i) values[i] = p[i];
  return load<W>(values);
}

// No more than `n` of W values to p.
template <class A, int W, class T>
DLDL_FAST_INLINE void store_up_to(T* p, Vector<A, W> v, int64_t n) {
  if (n >= W) return store<W>(p, v);
  T values[W];
  store<W>(values, v);
  for (int64_t i = 0; i < n; ++i) p[i] = values[i];
}

// The part of a row's windows, or of the channels, that one vector takes.
template <int W>
DLDL_FAST_INLINE int lanes_from(int64_t first, int64_t count) {
  return static_cast<int>(count - first < W ? count - first : W);
}

// Windows of 2 x 2 side by side are compared as many at a time. More lanes would be left empty by
// the rows of the small planes that networks end in.
template <int W>
constexpr int kPairLanes = W < 8 ? W : 8;

// The even lanes of a and b, or with kOdd the odd ones: for W = 8 in the order 0, 2, 8, 10 of both,
// then 4, 6, 12, 14, which takes one instruction.
template <int W, int kOdd>
DLDL_FAST_INLINE Float<W> every_other(Float<W> a, Float<W> b) {
  static_assert(W == 4 || W == 8);
  if constexpr (W == 4) {
    return DLDL_FAST_SHUFFLE(a, b, kOdd, kOdd + 2, kOdd + 4, kOdd + 6);
  } else {
    return DLDL_FAST_SHUFFLE(a, b, kOdd, kOdd + 2, kOdd + 8, kOdd + 10, kOdd + 4, kOdd + 6,
                             kOdd + 12, kOdd + 14);
  }
}

// Sum of the maxima of one plane with windows of 2 x 2 that holds no NaN, else NaN; also where
// values of both signs are infinite, or add up to it.
// `load_columns` gets W values from a pointer on, whether or not they all belong to its row.
template <class T, int W, bool kKeeps, class Load>
DLDL_FAST_INLINE float pool_pairs(const T* plane, const PoolShape& shape, BitWriter* writer,
                                  const Load& load_columns) {
  using V = Float<W>;
  const int64_t n_rows = shape.out_height(), n_columns = shape.out_width();
  const int64_t width = shape.width;
  BitWriter choices = kKeeps ? *writer : BitWriter(nullptr);
  // The lanes that hold windows in the vector that a row ends in.
  const V first_column = every_other<W, 0>(iota<float, W>(), iota<float, W>() + W);
  const Int<W> is_window = first_column < static_cast<float>(2 * (n_columns % W));
  V total{}, passed_over{};
  for (int64_t i = 0; i < n_rows; ++i) {
    // A sum of its own for each row keeps the rounding of large planes small.
    V sum{};
    for (int64_t j = 0; j < n_columns; j += W) {
      const T *upper = plane + 2 * (i * width + j), *lower = upper + width;
      const V a0 = load_columns(upper), a1 = load_columns(upper + W);
      const V b0 = load_columns(lower), b1 = load_columns(lower + W);
      const V a_even = every_other<W, 0>(a0, a1), a_odd = every_other<W, 1>(a0, a1);
      const V b_even = every_other<W, 0>(b0, b1), b_odd = every_other<W, 1>(b0, b1);
      const V a = max(a_even, a_odd), b = max(b_even, b_odd);
      const V largest = max(a, b);
      passed_over += a_odd + b_odd + b;  // a NaN that max ignores stays in their sum
      const int n = lanes_from<W>(j, n_columns);
      if (n < W) {
        sum += is_window ? largest : V{};
      } else {
        sum += largest;
      }
      if constexpr (kKeeps) {
        const Int<W> in_lower = a < b;
        const Int<W> in_odd = (in_lower ? b_even : a_even) < largest;
        const uint32_t fresh = ~0u >> (32 - 2 * n);
        choices.append(signs_in_turn<W, Order::kEveryOther>(in_odd, in_lower) & fresh, 2 * n);
      }
    }
    total += sum;
  }
  if constexpr (kKeeps) *writer = choices;
  return lane_sum<float, W>(total + (passed_over != passed_over ? passed_over : V{}));
}

// The same for windows of any size.
template <class T, class A>
A pool_windows(const T* plane, const PoolShape& shape, BitWriter* writer) {
  const int64_t k = shape.kernel_size, n_rows = shape.out_height(), n_columns = shape.out_width();
  const int choice_bits = shape.choice_bits();
  A total = 0;
  for (int64_t i = 0; i < n_rows; ++i) {
    A sum = 0;
    for (int64_t j = 0; j < n_columns; ++j) {
      const T* window = plane + i * k * shape.width + j * k;
      Largest<A, 1> largest(load<1>(window));
      int32_t number = 0;
      for (int64_t y = 0; y < k; ++y) {
        for (int64_t x = 0; x < k; ++x) {
          if (number > 0) largest.compare(load<1>(window + y * shape.width + x), number);
          ++number;
        }
      }
      sum += largest.value;
      if (writer != nullptr) append_choices<1>(*writer, largest.choice, 1, choice_bits);
    }
    total += sum;
  }
  return total;
}

// Sum of the maxima of one plane. No value from `end` on is read.
template <class T, class A, int W, bool kKeeps>
DLDL_FAST_INLINE A plane_sum(const T* plane, const T* end, const PoolShape& shape,
                             BitWriter* writer) {
  if constexpr (W > 1) {
    if (shape.kernel_size == 2) {
      const BitWriter before = kKeeps ? *writer : BitWriter(nullptr);
      constexpr int P = kPairLanes<W>;
      const bool is_inside = end - plane >= shape.height * shape.width + 2 * P;
      const A sum =
          is_inside
              ? pool_pairs<T, P, kKeeps>(plane, shape, writer,
                                         [](const T* p) DLDL_FAST_LAMBDA { return load<P>(p); })
              : pool_pairs<T, P, kKeeps>(plane, shape, writer,
                                         [&](const T* p) { return load_up_to<A, P>(p, end - p); });
      if (sum == sum) return sum;
      if constexpr (kKeeps) *writer = before;
    }
  }
  return pool_windows<T, A>(plane, shape, writer);
}

// Means of planes [begin, end).
template <class T, class A, int W, bool kKeeps>
void pool_planes(const PoolShape& shape, const T* x, int64_t begin, int64_t end, T* pooled,
                 BitWriter* writer) {
  const int64_t size = shape.height * shape.width;
  const A n_windows = static_cast<A>(shape.windows_of_plane());
  const T* x_end = x + shape.images * shape.channels * size;
  for (int64_t p = begin; p < end; ++p) {
    const A sum = plane_sum<T, A, W, kKeeps>(x + p * size, x_end, shape, writer);
    store<1>(pooled + p, sum / n_windows);
  }
}

// Images [begin, end) with their channels last. `memory` holds two values a channel.
template <class T, class A, int W>
void pool_images(const PoolShape& shape, const T* x, int64_t begin, int64_t end, T* pooled,
                 BitWriter* writer, A* memory) {
  using V = Vector<A, W>;
  const int64_t k = shape.kernel_size, n_channels = shape.channels;
  const int64_t n_rows = shape.out_height(), n_columns = shape.out_width();
  const int64_t height = shape.height;
  const int choice_bits = shape.choice_bits();
  const bool keeps = writer != nullptr;
  BitWriter choices = keeps ? *writer : BitWriter(nullptr);
  const int64_t pixel = n_channels, line = shape.width * pixel;
  const T* x_end = x + shape.images * shape.height * line;
  A *total = memory, *sum = memory + padded(n_channels);
  const A n_windows = static_cast<A>(n_rows * n_columns);
  for (int64_t image = begin; image < end; ++image) {
    std::memset(total, 0, sizeof(A) * static_cast<size_t>(n_channels));
    for (int64_t i = 0; i < n_rows; ++i) {
      std::memset(sum, 0, sizeof(A) * static_cast<size_t>(padded(n_channels)));
      for (int64_t j = 0; j < n_columns; ++j) {
        const T* window = x + (image * height + i * k) * line + j * k * pixel;
        const bool is_inside = x_end - window >= (k - 1) * (line + pixel) + padded(n_channels);
        for (int64_t c = 0; c < n_channels; c += W) {
          const auto value = [&](int64_t offset) DLDL_FAST_LAMBDA {
            const T* p = window + offset + c;
            return is_inside ? load<W>(p) : load_up_to<A, W>(p, x_end - p);
          };
          Largest<A, W> largest(value(0));
          if (k == 2) {
            largest.compare(value(pixel), 1);
            largest.compare(value(line), 2);
            largest.compare(value(line + pixel), 3);
          } else {
            int32_t number = 0;
            for (int64_t dy = 0; dy < k; ++dy) {
              for (int64_t dx = 0; dx < k; ++dx) {
                if (number > 0) largest.compare(value(dy * line + dx * pixel), number);
                ++number;
              }
            }
          }
          store<W>(sum + c, V(load<W>(sum + c) + largest.value));
          if (keeps) {
            append_choices<W>(choices, largest.choice, lanes_from<W>(c, n_channels), choice_bits);
          }
        }
      }
      for (int64_t c = 0; c < n_channels; ++c) total[c] += sum[c];
    }
    for (int64_t c = 0; c < n_channels; ++c) {
      store<1>(pooled + image * n_channels + c, total[c] / n_windows);
    }
  }
  if (keeps) *writer = choices;
}

// Planes [begin, end), or images of them with their channels last. Choices go to `choices`, unless
// that is null, from the first bit of its byte on. The loops work on copies of writer, reader and
// sizes: what has an address may change with every vector that is stored.
template <class T, class A, int W>
void hybrid_pool2d_range(const PoolShape& shape, const void* given_x, int64_t begin, int64_t end,
                         void* given_pooled, uint8_t* choices, void* memory) {
  const T* x = static_cast<const T*>(given_x);
  T* pooled = static_cast<T*>(given_pooled);
  BitWriter held(choices);
  BitWriter* writer = choices == nullptr ? nullptr : &held;
  if (shape.channels_last) {
    pool_images<T, A, W>(shape, x, begin, end, pooled, writer, static_cast<A*>(memory));
  } else if (writer != nullptr) {
    pool_planes<T, A, W, true>(shape, x, begin, end, pooled, writer);
  } else {
    pool_planes<T, A, W, false>(shape, x, begin, end, pooled, writer);
  }
  held.finish();
}

template <class T>
DLDL_FAST_INLINE void set_zero(T* begin, const T* end) {
  std::memset(begin, 0, sizeof(T) * static_cast<size_t>(end - begin));
}

// Columns whose windows' choices are read at a time, one bit a column.
constexpr int kWord = 32;

// Gradient of one plane with windows of 2 x 2. `store(p, v, n)` puts n of W values at p, or more
// where what comes behind them is stored later.
template <class T, int W, class Store>
DLDL_FAST_INLINE void spread_pairs(T* plane, const PoolShape& shape, float grad,
                                   BitReader& given_reader, const Store& store_columns) {
  using V = Float<W>;
  BitReader reader = given_reader;
  const int64_t n_rows = shape.out_height(), n_columns = 2 * shape.out_width();
  const int64_t width = shape.width;
  // Of the choices that W columns share, lane i has its own one, here 0 or 1, in the upper row.
  int32_t masks[W], numbers[W];
  for (int i = 0; i < W; ++i) {
    masks[i] = 3 << i / 2 * 2;
    numbers[i] = i % 2 << i / 2 * 2;
  }
  const Int<W> mask = bit_cast<Int<W>>(masks), in_upper = bit_cast<Int<W>>(numbers);
  const Int<W> in_lower = in_upper | (mask & (mask << 1));
  const V value = broadcast<float, W>(grad);
  for (int64_t i = 0; i < n_rows; ++i) {
    T* to = plane + 2 * i * width;
    for (int64_t first = 0; first < n_columns; first += kWord) {
      const int n = lanes_from<kWord>(first, n_columns);
      const auto choices = Vector<uint32_t, W>{} + reader.next(n);
      const auto store_row = [&](T* row, Int<W> chosen) DLDL_FAST_LAMBDA {
        auto rest = choices;
        for (int j = 0; j < n; j += W) {
          const Int<W> choice = bit_cast<Int<W>>(rest) & mask;
          store_columns(row + first + j, choice == chosen ? value : V{}, n - j);
          rest >>= W;
        }
      };
      store_row(to, in_upper);
      store_row(to + width, in_lower);
    }
    if (n_columns < width) to[n_columns] = to[width + n_columns] = T{};
  }
  if (2 * n_rows < shape.height) set_zero(plane + 2 * n_rows * width, plane + shape.height * width);
  given_reader = reader;
}

// The same for windows of any size.
template <class T, class A>
void spread_windows(T* plane, const PoolShape& shape, A grad, BitReader& reader) {
  const int64_t k = shape.kernel_size, n_rows = shape.out_height(), n_columns = shape.out_width();
  const int choice_bits = shape.choice_bits();
  set_zero(plane, plane + shape.height * shape.width);
  for (int64_t i = 0; i < n_rows; ++i) {
    for (int64_t j = 0; j < n_columns; ++j) {
      const Choices<1> choices(reader, 1, choice_bits);
      const int64_t choice = static_cast<uint32_t>(choices.choice);
      store<1>(plane + (i * k + choice / k) * shape.width + j * k + choice % k, grad);
    }
  }
}

// Gradient of images [begin, end) with their channels last. `memory` holds a value a channel.
template <class T, class A, int W>
void spread_images(const PoolShape& shape, const T* grad_pooled, int64_t begin, int64_t end,
                   T* grad_x, BitReader reader, A* memory) {
  using V = Vector<A, W>;
  const int64_t k = shape.kernel_size, n_channels = shape.channels;
  const int64_t n_rows = shape.out_height(), n_columns = shape.out_width();
  const int64_t height = shape.height, pixel = n_channels, line = shape.width * pixel;
  const int64_t rest = line - k * n_columns * pixel;  // behind the last window of a line
  const int choice_bits = shape.choice_bits();
  const A n_windows = static_cast<A>(n_rows * n_columns);
  for (int64_t image = begin; image < end; ++image) {
    for (int64_t c = 0; c < n_channels; ++c) {
      memory[c] = load<1>(grad_pooled + image * n_channels + c) / n_windows;
    }
    T* first_line = grad_x + image * height * line;
    for (int64_t i = 0; i < n_rows; ++i) {
      for (int64_t j = 0; j < n_columns; ++j) {
        T* window = first_line + i * k * line + j * k * pixel;
        for (int64_t c = 0; c < n_channels; c += W) {
          const int n = lanes_from<W>(c, n_channels);
          const Choices<W> choices(reader, n, choice_bits);
          const V value = load<W>(memory + c);
          const auto put = [&](int64_t offset, Int<W> number) DLDL_FAST_LAMBDA {
            store_up_to<A, W>(window + offset + c, choices.choice == number ? value : V{}, n);
          };
          if (k == 2) {
            put(0, Int<W>{});
            put(pixel, choices.unit);
            put(line, choices.unit * 2);
            put(line + pixel, choices.unit * 3);
          } else {
            Int<W> number{};
            for (int64_t dy = 0; dy < k; ++dy) {
              for (int64_t dx = 0; dx < k; ++dx) {
                put(dy * line + dx * pixel, number);
                number += choices.unit;
              }
            }
          }
        }
      }
      for (int64_t dy = 0; dy < k; ++dy) {
        T* next = first_line + (i * k + dy + 1) * line;
        set_zero(next - rest, next);
      }
    }
    set_zero(first_line + k * n_rows * line, first_line + height * line);
  }
}

// Gradient of the same range. Its choices begin at a byte.
template <class T, class A, int W>
void hybrid_pool2d_backward_range(const PoolShape& shape, const void* given_grad,
                                  const uint8_t* choices, int64_t choice_bytes, int64_t begin,
                                  int64_t end, void* given_grad_x, void* memory) {
  const T* grad_pooled = static_cast<const T*>(given_grad);
  T* grad_x = static_cast<T*>(given_grad_x);
  BitReader reader(choices, choice_bytes);
  if (shape.channels_last) {
    return spread_images<T, A, W>(shape, grad_pooled, begin, end, grad_x, reader,
                                  static_cast<A*>(memory));
  }
  const int64_t size = shape.height * shape.width;
  const A n_windows = static_cast<A>(shape.windows_of_plane());
  for (int64_t p = begin; p < end; ++p) {
    const A grad = load<1>(grad_pooled + p) / n_windows;
    T* plane = grad_x + p * size;
    if constexpr (W > 1) {
      constexpr int P = kPairLanes<W>;
      if (shape.kernel_size == 2) {
        const bool may_pass = p + 1 < end && size >= P && shape.width <= kWord;
        if (may_pass) {
          spread_pairs<T, P>(plane, shape, grad, reader,
                             [](T* to, Float<P> v, int) DLDL_FAST_LAMBDA { store<P>(to, v); });
        } else {
          spread_pairs<T, P>(plane, shape, grad, reader,
                             [](T* to, Float<P> v, int n) { store_up_to<A, P>(to, v, n); });
        }
        continue;
      }
    }
    spread_windows<T, A>(plane, shape, grad, reader);
  }
}

template <class A>
size_t pool_scratch_bytes(const PoolShape& shape) {
  return shape.channels_last ? 2 * sizeof(A) * static_cast<size_t>(padded(shape.channels)) : 0;
}

}  // namespace
}  // namespace dldl_fast::DLDL_FAST_ISA
