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
  DLDL_FAST_MEMBER BitReader(const uint8_t* from, int64_t bytes) : from_(from), bytes_(bytes) {}

  // The next `count` bits, at most 32; bits above them are arbitrary.
  DLDL_FAST_MEMBER uint32_t next(int count) {
    const int64_t first = bit_ >> 3;
    uint64_t word;
    if (bytes_ - first >= static_cast<int64_t>(sizeof(word))) {
      std::memcpy(&word, from_ + first, sizeof(word));
    } else {
      word = last_word(from_ + first, bytes_ - first);
    }
    word >>= bit_ & 7;
    bit_ += count;
    return static_cast<uint32_t>(word);
  }

 private:
  DLDL_FAST_OUTLINE uint64_t last_word(const uint8_t* from, int64_t bytes) {
    uint64_t word = 0;
    for (int64_t i = 0; i < bytes; ++i) word |= static_cast<uint64_t>(from[i]) << (8 * i);
    return word;
  }

  const uint8_t* from_;
  int64_t bytes_;
  int64_t bit_ = 0;
};

}  // namespace
}  // namespace dldl_fast::DLDL_FAST_ISA
