// Hybrid pooling: the mean over windows of their maxima (Section 3.4), and its gradient.
//
// Of equal values the first one of a window is its choice, of several NaN the last one, as in
// torch's max_pool2d. W windows are compared at a time: in NCHW neighbours of a row, for which even
// and odd columns are taken apart (where the kernel size is not 2, one window at a time); with
// channels last, W channels of one window.
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
#if DLDL_FAST_LANES == 8 && !defined(DLDL_FAST_NO_INTRINSICS)
  return static_cast<uint32_t>(_mm256_movemask_ps((__m256)v));
#elif DLDL_FAST_LANES == 16 && !defined(DLDL_FAST_NO_INTRINSICS)
  return _mm512_movepi32_mask((__m512i)v);
#else
  int32_t lanes[W];
  std::memcpy(lanes, &v, sizeof(v));
  uint32_t bits = 0;
  for (int i = 0; i < W; ++i) bits |= (static_cast<uint32_t>(lanes[i]) >> 31) << i;
  return bits;
#endif
}

// Bit i moves to bit 2 i.
DLDL_FAST_INLINE uint32_t spread(uint32_t bits) {
  bits = (bits | bits << 8) & 0x00ff00ff;
  bits = (bits | bits << 4) & 0x0f0f0f0f;
  bits = (bits | bits << 2) & 0x33333333;
  return (bits | bits << 1) & 0x55555555;
}

// Choices of the first n_windows lanes.
template <int W>
DLDL_FAST_INLINE void append_choices(BitWriter& writer, Int<W> choice, int n_windows,
                                     int choice_bits) {
  if constexpr (W > 1) {
    if (choice_bits == 2) {
      const uint32_t low = spread(signs<W>(choice << 31)), high = spread(signs<W>(choice << 30));
      const uint32_t fresh = ~0u >> (32 - 2 * n_windows);
      return writer.append((low | high << 1) & fresh, 2 * n_windows);
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

#if DLDL_FAST_LANES == 4
#define DLDL_FAST_EVENS 0, 2, 4, 6
#define DLDL_FAST_ODDS 1, 3, 5, 7
#define DLDL_FAST_LOW_PAIR 0, 4, 1, 5
#define DLDL_FAST_HIGH_PAIR 2, 6, 3, 7
#elif DLDL_FAST_LANES == 8
#define DLDL_FAST_EVENS 0, 2, 4, 6, 8, 10, 12, 14
#define DLDL_FAST_ODDS 1, 3, 5, 7, 9, 11, 13, 15
#define DLDL_FAST_LOW_PAIR 0, 8, 1, 9, 2, 10, 3, 11
#define DLDL_FAST_HIGH_PAIR 4, 12, 5, 13, 6, 14, 7, 15
#elif DLDL_FAST_LANES == 16
#define DLDL_FAST_EVENS 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define DLDL_FAST_ODDS 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define DLDL_FAST_LOW_PAIR 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define DLDL_FAST_HIGH_PAIR 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#else  // never used
#define DLDL_FAST_EVENS 0
#define DLDL_FAST_ODDS 0
#define DLDL_FAST_LOW_PAIR 0
#define DLDL_FAST_HIGH_PAIR 0
#endif

// The even and the odd ones of 2 W neighbouring columns.
template <class A, int W>
struct Columns {
  Vector<A, W> even, odd;

  // From p on, of which no more than `n` may be read.
  template <class T>
  static DLDL_FAST_MEMBER Columns load_from(const T* p, int64_t n) {
    const auto a = load_up_to<A, W>(p, n), b = load_up_to<A, W>(p + W, n - W);
    if constexpr (W == 1) {
      return {a, b};
    } else {
      return {DLDL_FAST_SHUFFLE(a, b, DLDL_FAST_EVENS), DLDL_FAST_SHUFFLE(a, b, DLDL_FAST_ODDS)};
    }
  }
  // No more than `n` of them.
  template <class T>
  DLDL_FAST_MEMBER void store_to(T* p, int64_t n) const {
    if constexpr (W == 1) {
      store_up_to<A, W>(p, even, n);
      store_up_to<A, W>(p + W, odd, n - W);
    } else {
      store_up_to<A, W>(p, DLDL_FAST_SHUFFLE(even, odd, DLDL_FAST_LOW_PAIR), n);
      store_up_to<A, W>(p + W, DLDL_FAST_SHUFFLE(even, odd, DLDL_FAST_HIGH_PAIR), n - W);
    }
  }
};

// The part of a row's windows that one vector takes.
template <int W>
DLDL_FAST_INLINE int windows_from(int64_t first, int64_t count) {
  return static_cast<int>(count - first < W ? count - first : W);
}

// Sum of the maxima of one plane with windows of 2 x 2; no value from `end` on is read.
template <class T, class A, int W>
DLDL_FAST_INLINE A pool_pairs(const T* plane, const T* end, const PoolShape& shape,
                              BitWriter* writer) {
  using V = Vector<A, W>;
  const int64_t n_rows = shape.out_height(), n_columns = shape.out_width();
  V total{};
  for (int64_t i = 0; i < n_rows; ++i) {
    // A sum of its own for each row keeps the rounding of large planes small.
    V sum{};
    for (int64_t j = 0; j < n_columns; j += W) {
      const int n = windows_from<W>(j, n_columns);
      const T* upper = plane + 2 * i * shape.width + 2 * j;
      const T* lower = upper + shape.width;
      const auto a = Columns<A, W>::load_from(upper, end - upper);
      const auto b = Columns<A, W>::load_from(lower, end - lower);
      Largest<A, W> largest(a.even);
      largest.compare(a.odd, 1);
      largest.compare(b.even, 2);
      largest.compare(b.odd, 3);
      if constexpr (W > 1) {
        if (n < W) largest.value = iota<A, W>() < static_cast<A>(n) ? largest.value : V{};
      }
      sum += largest.value;
      if (writer != nullptr) append_choices<W>(*writer, largest.choice, n, 2);
    }
    total += sum;
  }
  return lane_sum<A, W>(total);
}

// The same for windows of any size.
template <class T, class A>
A pool_windows(const T* plane, const PoolShape& shape, BitWriter* writer) {
  const int64_t k = shape.kernel_size, n_rows = shape.out_height(), n_columns = shape.out_width();
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
      if (writer != nullptr) append_choices<1>(*writer, largest.choice, 1, shape.choice_bits());
    }
    total += sum;
  }
  return total;
}

// Images [begin, end) with their channels last. `memory` holds two values a channel.
template <class T, class A, int W>
void pool_images(const PoolShape& shape, const T* x, int64_t begin, int64_t end, T* pooled,
                 BitWriter* writer, A* memory) {
  using V = Vector<A, W>;
  const int64_t k = shape.kernel_size, n_channels = shape.channels;
  const int64_t pixel = n_channels, line = shape.width * pixel;
  const T* x_end = x + shape.images * shape.height * line;
  A *total = memory, *sum = memory + padded(n_channels);
  const A n_windows = static_cast<A>(shape.windows_of_plane());
  for (int64_t image = begin; image < end; ++image) {
    std::memset(total, 0, sizeof(A) * static_cast<size_t>(n_channels));
    for (int64_t i = 0; i < shape.out_height(); ++i) {
      std::memset(sum, 0, sizeof(A) * static_cast<size_t>(padded(n_channels)));
      for (int64_t j = 0; j < shape.out_width(); ++j) {
        const T* window = x + (image * shape.height + i * k) * line + j * k * pixel;
        for (int64_t c = 0; c < n_channels; c += W) {
          const int n = windows_from<W>(c, n_channels);
          const auto value = [&](int64_t offset) {
            const T* p = window + offset + c;
            return load_up_to<A, W>(p, x_end - p);
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
          if (writer != nullptr) {
            append_choices<W>(*writer, largest.choice, n, shape.choice_bits());
          }
        }
      }
      for (int64_t c = 0; c < n_channels; ++c) total[c] += sum[c];
    }
    for (int64_t c = 0; c < n_channels; ++c) {
      store<1>(pooled + image * n_channels + c, total[c] / n_windows);
    }
  }
}

// Planes [begin, end), or images of them with their channels last. Choices go to `choices`, unless
// that is null, from the first bit of its byte on.
template <class T, class A, int W>
void hybrid_pool2d_range(const PoolShape& shape, const void* given_x, int64_t begin, int64_t end,
                         void* given_pooled, uint8_t* choices, void* memory) {
  const T* x = static_cast<const T*>(given_x);
  T* pooled = static_cast<T*>(given_pooled);
  BitWriter held(choices);
  BitWriter* writer = choices == nullptr ? nullptr : &held;
  if (shape.channels_last) {
    pool_images<T, A, W>(shape, x, begin, end, pooled, writer, static_cast<A*>(memory));
  } else {
    const int64_t size = shape.height * shape.width;
    const A n_windows = static_cast<A>(shape.windows_of_plane());
    const T* x_end = x + shape.images * shape.channels * size;
    for (int64_t p = begin; p < end; ++p) {
      const T* plane = x + p * size;
      const A sum = shape.kernel_size == 2 ? pool_pairs<T, A, W>(plane, x_end, shape, writer)
                                           : pool_windows<T, A>(plane, shape, writer);
      store<1>(pooled + p, sum / n_windows);
    }
  }
  held.finish();
}

template <class T>
DLDL_FAST_INLINE void set_zero(T* begin, const T* end) {
  std::memset(begin, 0, sizeof(T) * static_cast<size_t>(end - begin));
}

// Gradient of one plane with windows of 2 x 2. Vectors may be stored beyond a row, as what comes
// behind it is stored later, but not from `end` on.
template <class T, class A, int W>
DLDL_FAST_INLINE void spread_pairs(T* plane, const T* end, const PoolShape& shape, A grad,
                                   BitReader& reader) {
  using V = Vector<A, W>;
  const int64_t n_rows = shape.out_height(), n_columns = shape.out_width(), width = shape.width;
  const V value = broadcast<A, W>(grad);
  for (int64_t i = 0; i < n_rows; ++i) {
    T* upper = plane + 2 * i * width;
    T* lower = upper + width;
    for (int64_t j = 0; j < n_columns; j += W) {
      const int n = windows_from<W>(j, n_columns);
      const Choices<W> choices(reader, n, 2);
      Int<W> number{};
      V grads[4];
      for (int q = 0; q < 4; ++q) {
        grads[q] = choices.choice == number ? value : V{};
        number += choices.unit;
      }
      // The rest of a row of several vectors would overwrite the first one of the next row.
      const bool alone = n_columns <= W;
      const int64_t exact = 2 * n;
      Columns<A, W>{grads[0], grads[1]}.store_to(upper + 2 * j,
                                                 alone ? end - (upper + 2 * j) : exact);
      if (width % 2 != 0) set_zero(upper + 2 * n_columns, lower);
      Columns<A, W>{grads[2], grads[3]}.store_to(lower + 2 * j,
                                                 alone ? end - (lower + 2 * j) : exact);
      if (width % 2 != 0) set_zero(lower + 2 * n_columns, lower + width);
    }
  }
  set_zero(plane + 2 * n_rows * width, plane + shape.height * width);
}

// The same for windows of any size.
template <class T, class A>
void spread_windows(T* plane, const PoolShape& shape, A grad, BitReader& reader) {
  const int64_t k = shape.kernel_size;
  set_zero(plane, plane + shape.height * shape.width);
  for (int64_t i = 0; i < shape.out_height(); ++i) {
    for (int64_t j = 0; j < shape.out_width(); ++j) {
      const Choices<1> choices(reader, 1, shape.choice_bits());
      const int64_t choice = static_cast<uint32_t>(choices.choice);
      store<1>(plane + (i * k + choice / k) * shape.width + j * k + choice % k, grad);
    }
  }
}

// Gradient of images [begin, end) with their channels last. `memory` holds a value a channel.
template <class T, class A, int W>
void spread_images(const PoolShape& shape, const T* grad_pooled, int64_t begin, int64_t end,
                   T* grad_x, BitReader& reader, A* memory) {
  using V = Vector<A, W>;
  const int64_t k = shape.kernel_size, n_channels = shape.channels;
  const int64_t pixel = n_channels, line = shape.width * pixel;
  const A n_windows = static_cast<A>(shape.windows_of_plane());
  for (int64_t image = begin; image < end; ++image) {
    for (int64_t c = 0; c < n_channels; ++c) {
      memory[c] = load<1>(grad_pooled + image * n_channels + c) / n_windows;
    }
    T* first_line = grad_x + image * shape.height * line;
    for (int64_t i = 0; i < shape.out_height(); ++i) {
      for (int64_t j = 0; j < shape.out_width(); ++j) {
        T* window = first_line + i * k * line + j * k * pixel;
        for (int64_t c = 0; c < n_channels; c += W) {
          const int n = windows_from<W>(c, n_channels);
          const Choices<W> choices(reader, n, shape.choice_bits());
          const V value = load<W>(memory + c);
          Int<W> number{};
          for (int64_t dy = 0; dy < k; ++dy) {
            for (int64_t dx = 0; dx < k; ++dx) {
              const V grad = choices.choice == number ? value : V{};
              store_up_to<A, W>(window + dy * line + dx * pixel + c, grad, n);
              number += choices.unit;
            }
          }
        }
      }
      for (int64_t dy = 0; dy < k; ++dy) {
        T* next = first_line + (i * k + dy + 1) * line;
        set_zero(next - (shape.width - k * shape.out_width()) * pixel, next);
      }
    }
    set_zero(first_line + k * shape.out_height() * line, first_line + shape.height * line);
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
    if (shape.kernel_size == 2) {
      spread_pairs<T, A, W>(plane, grad_x + end * size, shape, grad, reader);
    } else {
      spread_windows<T, A>(plane, shape, grad, reader);
    }
  }
}

template <class A>
size_t pool_scratch_bytes(const PoolShape& shape) {
  return shape.channels_last ? 2 * sizeof(A) * static_cast<size_t>(padded(shape.channels)) : 0;
}

}  // namespace
}  // namespace dldl_fast::DLDL_FAST_ISA
