// Holds the card's instructions against plain loops: if the emulator's idea of one is wrong, it shows here first.
#include <cstdio>
#include <random>
#include <span>
#include <vector>

#include "probe/device.h"
#include "probe/tensor_map.h"
#include "simt/self_check.h"
#include "tensor/dtype.h"

namespace quire::probe {
namespace {

__global__ void WarpProductKernel(simt::WarpProductCheck check) { check.Run(); }
__global__ void MatrixMoveKernel(simt::MatrixMoveCheck check) { check.Run(); }
template <bool kTransposed>
__global__ void WarpgroupProductKernel(const __grid_constant__ CUtensorMap a_map,
                                       const __grid_constant__ CUtensorMap b_map, simt::WarpgroupProductCheck check) {
  check.a_map = &a_map;
  check.b_map = &b_map;
  check.Run<kTransposed>();
}

// Small whole numbers: sums are exact in any order.
std::vector<uint16_t> WholeNumbers(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint16_t> values(count);
  for (uint16_t& value : values)
    value = static_cast<uint16_t>(ToBf16(static_cast<float>(static_cast<int>(random() % 9) - 4)));
  return values;
}
float Value(uint16_t bits) { return ToFloat(static_cast<Bf16>(bits)); }

bool Report(const char* what, size_t wrong, size_t count) {
  std::printf("  %-4s %s: %zu of %zu values wrong\n", wrong == 0 ? "ok" : "FAIL", what, wrong, count);
  std::fflush(stdout);
  return wrong == 0;
}

bool CheckWarpProduct() {
  const std::vector<uint16_t> a = WholeNumbers(256, 1), b = WholeNumbers(128, 2);
  const DeviceArray<uint16_t> device_a{std::span<const uint16_t>(a)}, device_b{std::span<const uint16_t>(b)};
  DeviceArray<float> d(128);
  d.Poison();
  WarpProductKernel<<<1, 32>>>({device_a.data(), device_b.data(), d.data()});
  CheckLaunch("warp product");
  const std::vector<float> actual = d.Download();
  size_t wrong = 0;
  for (size_t row = 0; row < 16; ++row)
    for (size_t n = 0; n < 8; ++n) {
      float sum = 0;
      for (size_t k = 0; k < 16; ++k) sum += Value(a[row * 16 + k]) * Value(b[n * 16 + k]);
      wrong += actual[row * 8 + n] == sum ? 0 : 1;
    }
  return Report("mma.m16n8k16", wrong, 128);
}

bool CheckMatrixMoves() {
  const std::vector<uint16_t> in = WholeNumbers(256, 5);
  const DeviceArray<uint16_t> device_in{std::span<const uint16_t>(in)};
  DeviceArray<uint32_t> out(384);
  MatrixMoveKernel<<<1, 32, simt::MatrixMoveCheck::kSharedBytes>>>({device_in.data(), out.data()});
  CheckLaunch("matrix moves");
  const std::vector<uint32_t> actual = out.Download();
  size_t wrong = 0;
  for (size_t lane = 0; lane < 32; ++lane)
    for (size_t m = 0; m < 4; ++m) {
      const size_t g = lane / 4, t = lane % 4 * 2;
      const uint16_t* const matrix = in.data() + m * 64;
      const uint32_t transposed = matrix[t * 8 + g] | uint32_t{matrix[t * 8 + 8 + g]} << 16;
      wrong += actual[lane * 4 + m] == (matrix[g * 8 + t] | uint32_t{matrix[g * 8 + t + 1]} << 16) ? 0 : 1;
      wrong += actual[(32 + lane) * 4 + m] == transposed ? 0 : 1;
      wrong += actual[(64 + lane) * 4 + m] == transposed ? 0 : 1;
    }
  return Report("ldmatrix, ldmatrix.trans, movmatrix", wrong, 384);
}

template <bool kTransposed>
size_t WrongInWarpgroupProduct(uint32_t leading_bytes, uint32_t stride_bytes) {
  const std::vector<uint16_t> a = WholeNumbers(64 * 64, 3), b = WholeNumbers(128 * 64, 4);
  const DeviceArray<uint16_t> device_a{std::span<const uint16_t>(a)}, device_b{std::span<const uint16_t>(b)};
  DeviceArray<float> d(64 * 128);
  d.Poison();
  const CUtensorMap a_map = MapTensor<4>(device_a.data(), {{64, 64, 1, 1}, {1, 64, 4096, 4096}, {64, 64, 1, 1}});
  const CUtensorMap b_map =
      kTransposed ? MapTensor<4>(device_b.data(), {{128, 64, 1, 1}, {1, 128, 8192, 8192}, {64, 64, 1, 1}})
                  : MapTensor<4>(device_b.data(), {{64, 128, 1, 1}, {1, 64, 8192, 8192}, {64, 128, 1, 1}});
  const simt::WarpgroupProductCheck check = {nullptr, nullptr, device_a.data(), d.data(), leading_bytes, stride_bytes};
  WarpgroupProductKernel<kTransposed><<<1, check.kThreads, check.kSharedBytes>>>(a_map, b_map, check);
  CheckLaunch("warpgroup product");
  Check(cudaDeviceSynchronize(), "warpgroup product");
  const std::vector<float> actual = d.Download();
  size_t wrong = 0;
  for (size_t row = 0; row < 64; ++row)
    for (size_t n = 0; n < 128; ++n) {
      float sum = 0;
      for (size_t k = 0; k < 64; ++k)
        sum += Value(a[row * 64 + k]) * Value(kTransposed ? b[k * 128 + n] : b[n * 64 + k]);
      wrong += actual[row * 128 + n] == sum ? 0 : 1;
    }
  return wrong;
}

}  // namespace

bool RunSimtCheck(const Options&) {
  bool right = CheckWarpProduct();
  right = CheckMatrixMoves() && right;
  right = Report("wgmma of shared tiles", WrongInWarpgroupProduct<false>(0, 0), 8192) && right;
  const size_t wrong = WrongInWarpgroupProduct<true>(8192, 1024);
  right = Report("wgmma of registers and a transposed tile", wrong, 8192) && right;
  if (wrong > 0) Report("  the same with strides exchanged", WrongInWarpgroupProduct<true>(1024, 8192), 8192);
  return right;
}

}  // namespace quire::probe
