// Hybrid pooling: the mean over windows of their maxima (Section 3.4), and its gradient.
//
// Of equal values the first one of a window is its choice, of several NaN the last one, as in
// torch's max_pool2d. With channels last, W channels of a window are compared at a time; else W
// columns of a row where the kernel size is 2, and one window at a time where it is not.
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

// Choices 0 to 3 of all lanes, in 2 bits each.
template <int W>
DLDL_FAST_INLINE uint32_t two_bits_each(Int<W> choice) {
#if DLDL_FAST_LANES == 8 && !defined(DLDL_FAST_NO_INTRINSICS)
  // 16 bits a lane, and of the low and the high ones a byte each, in turn: lanes 0 to 3 in the
  // lower half of the register, 4 to 7 in the upper one.
  const __m256i words = _mm256_packs_epi32((__m256i)(choice << 31), (__m256i)(choice << 30));
  const __m256i order = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(1, 9, 3, 11, 5, 13, 7, 15, -1, -1, -1, -1, -1, -1, -1, -1));
  const auto bits = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_shuffle_epi8(words, order)));
  return (bits & 0xff) | bits >> 8;
#else
  const auto spread = [](uint32_t bits) {  // bit i to bit 2 i
    bits = (bits | bits << 8) & 0x00ff00ff;
    bits = (bits | bits << 4) & 0x0f0f0f0f;
    bits = (bits | bits << 2) & 0x33333333;
    return (bits | bits << 1) & 0x55555555;
  };
  return spread(signs<W>(choice << 31)) | spread(signs<W>(choice << 30)) << 1;
#endif
}

// Choices of the first n_windows lanes.
template <int W>
DLDL_FAST_INLINE void append_choices(BitWriter& writer, Int<W> choice, int n_windows,
                                     int choice_bits) {
  if constexpr (W > 1) {
    if (choice_bits == 2) {
      const uint32_t fresh = ~0u >> (32 - 2 * n_windows);
      return writer.append(two_bits_each<W>(choice) & fresh, 2 * n_windows);
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

// A word has a bit for each of so many columns of windows of 2 x 2: of several rows, one after
// another, or of a part of one row.
constexpr int kWord = 64;
constexpr uint64_t kEven = 0x5555555555555555;

// Choices of windows, 2 bits each, from the columns that equal the largest value of their window,
// in the upper and in the lower row.
DLDL_FAST_INLINE uint64_t choices_of_columns(uint64_t upper, uint64_t lower) {
  const uint64_t in_lower = ~(upper | upper >> 1) & kEven;
  const uint64_t in_odd = ((in_lower & ~lower) | (~in_lower & ~upper)) & kEven;
  return in_odd | in_lower << 1;
}

// The reverse: the columns that are chosen.
DLDL_FAST_INLINE void columns_of_choices(uint64_t choices, uint64_t& upper, uint64_t& lower) {
  const uint64_t in_lower = choices >> 1 & kEven, in_odd = choices & kEven;
  const uint64_t columns = (~in_odd & kEven) | in_odd << 1;
  lower = columns & (in_lower | in_lower << 1);
  upper = columns & ~lower;
}

// Neighbouring lanes trade places.
template <int W>
DLDL_FAST_INLINE Float<W> swap_neighbours(Float<W> v) {
#if DLDL_FAST_LANES == 4
  return DLDL_FAST_SHUFFLE(v, v, 1, 0, 3, 2);
#elif DLDL_FAST_LANES == 8
  return DLDL_FAST_SHUFFLE(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
#elif DLDL_FAST_LANES == 16
  return DLDL_FAST_SHUFFLE(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
#else
  return v;
#endif
}

// Sum of the maxima of one plane with windows of 2 x 2 that holds no NaN, else NaN.
// `load_columns` gets W values from a pointer on, whether or not they all belong to its row.
template <class T, int W, class Load>
DLDL_FAST_INLINE float pool_pairs(const T* plane, const PoolShape& shape, BitWriter* writer,
                                  const Load& load_columns) {
  using V = Float<W>;
  const int64_t n_rows = shape.out_height(), n_columns = 2 * shape.out_width();
  const int64_t width = shape.width;
  const int64_t rows_per_word = n_columns < kWord ? kWord / n_columns : 1;
  const bool keeps = writer != nullptr;
  BitWriter choices = keeps ? *writer : BitWriter(nullptr);
  V total{}, rest{};  // of whole vectors, and of those that a row ends in
  Int<W> nan{};
  for (int64_t row0 = 0; row0 < n_rows; row0 += rows_per_word) {
    const int rows =
        static_cast<int>(n_rows - row0 < rows_per_word ? n_rows - row0 : rows_per_word);
    // A sum of its own for each row keeps the rounding of large planes small.
    V sum{};
    for (int64_t first = 0; first < n_columns; first += kWord) {
      const int n = lanes_from<kWord>(first, n_columns);
      uint64_t in_upper = 0, in_lower = 0;
      for (int r = 0; r < rows; ++r) {
        const T* upper = plane + 2 * (row0 + r) * width + first;
        for (int j = 0; j < n; j += W) {
          const V a = load_columns(upper + j), b = load_columns(upper + width + j);
          const V larger = max(a, b);
          const V largest = max(larger, swap_neighbours<W>(larger));
          nan |= b != b;  // one in a stays in the sum
          uint32_t columns = ~0u;
          if (n - j < W) {
            columns >>= 32 - (n - j);
            rest += largest;
          } else {
            sum += largest;
          }
          if (keeps) {
            const int at = r * n + j;
            in_upper |= static_cast<uint64_t>(signs<W>(a == largest) & columns) << at;
            in_lower |= static_cast<uint64_t>(signs<W>(b == largest) & columns) << at;
          }
        }
      }
      if (keeps) choices.append_word(choices_of_columns(in_upper, in_lower), rows * n);
    }
    total += sum;
  }
  if (keeps) *writer = choices;
  total += iota<float, W>() < static_cast<float>(n_columns % W) ? rest : V{};
  // Each window was counted in both of its columns.
  return signs<W>(nan) == 0 ? lane_sum<float, W>(total) * 0.5f : bit_cast<float>(0x7fc00000);
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

// No value from `end` on is read.
template <class T, class A, int W>
DLDL_FAST_INLINE A plane_sum(const T* plane, const T* end, const PoolShape& shape,
                             BitWriter* writer) {
  if constexpr (W > 1) {
    if (shape.kernel_size == 2) {
      const BitWriter before = writer == nullptr ? BitWriter(nullptr) : *writer;
      const bool is_inside = end - plane >= shape.height * shape.width + W;
      const A sum =
          is_inside ? pool_pairs<T, W>(plane, shape, writer,
                                       [](const T* p) DLDL_FAST_LAMBDA { return load<W>(p); })
                    : pool_pairs<T, W>(plane, shape, writer,
                                       [&](const T* p) { return load_up_to<A, W>(p, end - p); });
      if (sum == sum) return sum;
      if (writer != nullptr) *writer = before;
    }
  }
  return pool_windows<T, A>(plane, shape, writer);
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

// Asks for values that are read soon; a hint, also where nothing is.
template <class T>
DLDL_FAST_INLINE void prefetch(const T* p, int64_t count) {
#if defined(__GNUC__)
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t i = 0; i < count; i += kLine) __builtin_prefetch(p + i);
#endif
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
  } else {
    const int64_t size = shape.height * shape.width;
    const A n_windows = static_cast<A>(shape.windows_of_plane());
    const T* x_end = x + shape.images * shape.channels * size;
    for (int64_t p = begin; p < end; ++p) {
      const T* plane = x + p * size;
      prefetch(plane + 4 * size, size);
      store<1>(pooled + p, plane_sum<T, A, W>(plane, x_end, shape, writer) / n_windows);
    }
  }
  held.finish();
}

template <class T>
DLDL_FAST_INLINE void set_zero(T* begin, const T* end) {
  std::memset(begin, 0, sizeof(T) * static_cast<size_t>(end - begin));
}

// Gradient of one plane with windows of 2 x 2. `store(p, v, n)` puts n of W values at p, or more
// where what comes behind them is stored later.
template <class T, int W, class Store>
DLDL_FAST_INLINE void spread_pairs(T* plane, const PoolShape& shape, float grad, BitReader& reader,
                                   const Store& store_columns) {
  using V = Float<W>;
  BitReader choices = reader;
  // One bit a lane, for each of the vectors that half a word is for.
  constexpr int kHalf = kWord / 2, kVectors = kHalf / W;
  Int<W> bits[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    uint32_t lanes[W];
    for (int i = 0; i < W; ++i) lanes[i] = 1u << (v * W + i);
    bits[v] = bit_cast<Int<W>>(lanes);
  }
  const V value = broadcast<float, W>(grad);
  const auto store_row = [&](T* to, int n, uint64_t chosen) DLDL_FAST_LAMBDA {
    for (int half = 0; half < n; half += kHalf) {
      const Int<W> columns = Int<W>{} + static_cast<int32_t>(chosen >> half);
      for (int v = 0; v < kVectors && half + v * W < n; ++v) {
        const int j = half + v * W;
        store_columns(to + j, (columns & bits[v]) == bits[v] ? value : V{}, n - j);
      }
    }
  };
  const int64_t n_rows = shape.out_height(), n_columns = 2 * shape.out_width();
  const int64_t width = shape.width;
  const int64_t rows_per_word = n_columns < kWord ? kWord / n_columns : 1;
  for (int64_t row0 = 0; row0 < n_rows; row0 += rows_per_word) {
    const int rows =
        static_cast<int>(n_rows - row0 < rows_per_word ? n_rows - row0 : rows_per_word);
    for (int64_t first = 0; first < n_columns; first += kWord) {
      const int n = lanes_from<kWord>(first, n_columns);
      uint64_t upper, lower;
      columns_of_choices(choices.next_word(rows * n), upper, lower);
      T* to = plane + 2 * row0 * width + first;
      for (int r = 0; r < rows; ++r) {
        store_row(to, n, upper);
        store_row(to + width, n, lower);
        if (first + n + 1 == width) to[n] = to[width + n] = T{};
        to += 2 * width;
        upper >>= n % kWord;
        lower >>= n % kWord;
      }
    }
  }
  set_zero(plane + 2 * n_rows * width, plane + shape.height * width);
  reader = choices;
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
      if (shape.kernel_size == 2) {
        const bool may_pass = p + 1 < end && size >= W && 2 * shape.out_width() <= kWord;
        if (may_pass) {
          spread_pairs<T, W>(plane, shape, grad, reader,
                             [](T* to, Float<W> v, int) DLDL_FAST_LAMBDA { store<W>(to, v); });
        } else {
          spread_pairs<T, W>(plane, shape, grad, reader,
                             [](T* to, Float<W> v, int n) { store_up_to<A, W>(to, v, n); });
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
