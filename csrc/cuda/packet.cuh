// Sixteen bytes of logits, the widest access there is, to and from the accumulation type.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstring>

namespace dldl_fast::cuda {

__device__ inline float to_accumulation(float x) { return x; }
__device__ inline double to_accumulation(double x) { return x; }
__device__ inline float to_accumulation(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float to_accumulation(__half x) { return __half2float(x); }

__device__ inline void to_storage(float x, float& to) { to = x; }
__device__ inline void to_storage(double x, double& to) { to = x; }
__device__ inline void to_storage(float x, __nv_bfloat16& to) { to = __float2bfloat16_rn(x); }
__device__ inline void to_storage(float x, __half& to) { to = __float2half_rn(x); }

template <class T>
struct Packet;

template <>
struct Packet<float> {
  static constexpr int kSize = 4;
  static __device__ void unpack(const uint4& packet, float* values) {
    values[0] = __uint_as_float(packet.x);
    values[1] = __uint_as_float(packet.y);
    values[2] = __uint_as_float(packet.z);
    values[3] = __uint_as_float(packet.w);
  }
  static __device__ uint4 pack(const float* values) {
    return {__float_as_uint(values[0]), __float_as_uint(values[1]), __float_as_uint(values[2]),
            __float_as_uint(values[3])};
  }
};

template <>
struct Packet<double> {
  static constexpr int kSize = 2;
  static __device__ void unpack(const uint4& packet, double* values) {
    values[0] = __hiloint2double(static_cast<int>(packet.y), static_cast<int>(packet.x));
    values[1] = __hiloint2double(static_cast<int>(packet.w), static_cast<int>(packet.z));
  }
  static __device__ uint4 pack(const double* values) {
    return {static_cast<unsigned>(__double2loint(values[0])),
            static_cast<unsigned>(__double2hiint(values[0])),
            static_cast<unsigned>(__double2loint(values[1])),
            static_cast<unsigned>(__double2hiint(values[1]))};
  }
};

__device__ inline float2 to_floats(__nv_bfloat162 pair) { return __bfloat1622float2(pair); }
__device__ inline float2 to_floats(__half2 pair) { return __half22float2(pair); }
__device__ inline void to_pair(float a, float b, __nv_bfloat162& to) {
  to = __floats2bfloat162_rn(a, b);
}
__device__ inline void to_pair(float a, float b, __half2& to) { to = __floats2half2_rn(a, b); }

// Two values a word, converted together.
template <class Pair>
struct PairPacket {
  static constexpr int kSize = 8;
  static __device__ void unpack(const uint4& packet, float* values) {
    const unsigned words[] = {packet.x, packet.y, packet.z, packet.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      Pair pair;
      memcpy(&pair, &words[i], sizeof(pair));
      const float2 both = to_floats(pair);
      values[2 * i] = both.x;
      values[2 * i + 1] = both.y;
    }
  }
  static __device__ uint4 pack(const float* values) {
    unsigned words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      Pair pair;
      to_pair(values[2 * i], values[2 * i + 1], pair);
      memcpy(&words[i], &pair, sizeof(pair));
    }
    return {words[0], words[1], words[2], words[3]};
  }
};

template <>
struct Packet<__nv_bfloat16> : PairPacket<__nv_bfloat162> {};
template <>
struct Packet<__half> : PairPacket<__half2> {};

}  // namespace dldl_fast::cuda
