// Streams of small numbers of one width, 2 to 32 bits, the first one in the lowest bits of a byte.
// A stream begins at a byte.
#pragma once

#include "cpu/lanes.h"

namespace dldl_fast::DLDL_FAST_ISA {
namespace {

class BitWriter {
 public:
  DLDL_FAST_MEMBER explicit BitWriter(uint8_t* to) : to_(to) {}

  // `count` bits, at most 32; those above are 0.
  DLDL_FAST_MEMBER void append(uint32_t bits, int count) {
    waiting_ |= static_cast<uint64_t>(bits) << n_waiting_;
    n_waiting_ += count;
    if (n_waiting_ < 32) return;
    const auto low = static_cast<uint32_t>(waiting_);
    std::memcpy(to_, &low, sizeof(low));
    to_ += sizeof(low);
    waiting_ >>= 32;
    n_waiting_ -= 32;
  }
  // The first `count` of 64 bits.
  DLDL_FAST_MEMBER void append_word(uint64_t bits, int count) {
    bits &= ~uint64_t{0} >> (64 - count);
    append(static_cast<uint32_t>(bits), count < 32 ? count : 32);
    if (count > 32) append(static_cast<uint32_t>(bits >> 32), count - 32);
  }
  void finish() {
    for (; n_waiting_ > 0; n_waiting_ -= 8) {
      *to_++ = static_cast<uint8_t>(waiting_);
      waiting_ >>= 8;
    }
  }

 private:
  uint8_t* to_;
  uint64_t waiting_ = 0;
  int n_waiting_ = 0;
};

class BitReader {
 public:
  DLDL_FAST_MEMBER BitReader(const uint8_t* from, int64_t bytes) : from_(from), left_(bytes) {}

  // The next `count` bits, at most 32; bits above them are arbitrary.
  DLDL_FAST_MEMBER uint32_t next(int count) {
    if (n_waiting_ < count) refill();
    const auto bits = static_cast<uint32_t>(waiting_);
    waiting_ >>= count;
    n_waiting_ -= count;
    return bits;
  }
  // The same for up to 64.
  DLDL_FAST_MEMBER uint64_t next_word(int count) {
    const uint64_t low = next(count < 32 ? count : 32);
    return count > 32 ? low | static_cast<uint64_t>(next(count - 32)) << 32 : low;
  }

 private:
  DLDL_FAST_MEMBER void refill() {
    uint32_t more = 0;
    const int n = left_ < 4 ? static_cast<int>(left_) : 4;
    if (n == 4) {
      std::memcpy(&more, from_, sizeof(more));
    } else {
      for (int i = 0; i < n; ++i) more |= static_cast<uint32_t>(from_[i]) << (8 * i);
    }
    from_ += n;
    left_ -= n;
    waiting_ |= static_cast<uint64_t>(more) << n_waiting_;
    n_waiting_ += 32;
  }

  const uint8_t* from_;
  int64_t left_;
  uint64_t waiting_ = 0;
  int n_waiting_ = 0;
};

}  // namespace
}  // namespace dldl_fast::DLDL_FAST_ISA
