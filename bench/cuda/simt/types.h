// What both implementations of simt.h share: names of targets, addresses, descriptors, small arithmetic.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define QUIRE_HOST_DEVICE __host__ __device__ __forceinline__
#define QUIRE_DEVICE __device__ __forceinline__
#define QUIRE_UNROLL _Pragma("unroll")
#define QUIRE_UNROLL_BY_8 _Pragma("unroll 8")
#else
#define QUIRE_HOST_DEVICE inline
#define QUIRE_DEVICE inline
#define QUIRE_UNROLL
#define QUIRE_UNROLL_BY_8
#endif

namespace quire::simt {

using SharedAddress = uint32_t;

// 16 bytes that one load moves.
struct alignas(16) Vec4 {
  uint32_t x, y, z, w;
};

struct alignas(8) Float2 {
  float x, y;
};

constexpr int kWarpSize = 32;

template <typename T>
QUIRE_HOST_DEVICE constexpr T CeilDiv(T a, T b) {
  return (a + b - 1) / b;
}

template <typename T>
QUIRE_HOST_DEVICE constexpr T Min(T a, T b) {
  return b < a ? b : a;
}

template <typename T>
QUIRE_HOST_DEVICE constexpr T Max(T a, T b) {
  return a < b ? b : a;
}

// A descriptor of a matrix in shared memory for warpgroup products (PTX: "matrix descriptor", 128-byte swizzle): rows
// of 128 bytes in atoms of 8 rows (1,024 bytes, aligned so). Along the contiguous dimension atoms lie `leading_bytes`
// apart, across it `stride_bytes`.
QUIRE_HOST_DEVICE constexpr uint64_t SwizzledMatrix(SharedAddress address, uint32_t leading_bytes,
                                                    uint32_t stride_bytes) {
  return (uint64_t{(address & 0x3FFFFU) >> 4}) | (uint64_t{(leading_bytes & 0x3FFFFU) >> 4} << 16) |
         (uint64_t{(stride_bytes & 0x3FFFFU) >> 4} << 32) | (uint64_t{1} << 62);
}

}  // namespace quire::simt
