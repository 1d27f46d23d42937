// The kernels between products on a card, against the loops that their test on the emulator uses.
#include <span>
#include <vector>

#include "kernels/elementwise_testing.h"
#include "probe/ceilings.h"
#include "probe/elementwise_launch.h"

namespace quire::probe {
namespace {

struct RealCard {
  template <typename T>
  struct Array : DeviceArray<T> {
    explicit Array(const std::vector<T>& values) : DeviceArray<T>(std::span<const T>(values)) {}
  };

  void Embed(const cuda::EmbeddingArgs& args, int rows) {
    Wait([&] { LaunchEmbedding(args, rows, {}); });
  }
  void Norm(const cuda::RmsNormArgs& args, int rows, int threads) {
    Wait([&] { LaunchNorm(args, rows, threads, {}); });
  }
  template <int kHeadDim>
  void Rope(const cuda::RopeArgs& args, int rows) {
    Wait([&] { LaunchRope<kHeadDim>(args, rows, {}); });
  }
  void Activate(const cuda::ActivationArgs& args, int rows) {
    Wait([&] { LaunchActivation(args, rows, {}); });
  }
  void Choose(const cuda::ArgMaxArgs& args, int rows) {
    Wait([&] { LaunchArgMax(args, rows, {}); });
  }

 private:
  template <typename Launch>
  static void Wait(Launch launch) {
    launch();
    Check(cudaDeviceSynchronize(), "a kernel between products");
  }
};

bool Report(const char* kernel, const cuda::Mismatch& mismatch) {
  PrintLine("%-10s against plain loops: %s", kernel, mismatch ? ("FAILED: " + *mismatch).c_str() : "ok");
  return !mismatch;
}

}  // namespace

bool CheckElementwise(uint64_t seed) {
  RealCard card;
  bool passed = Report("embedding", cuda::CheckEmbedding(card, 70, 4096, seed));
  for (const int threads : {256, 512, 1024})
    for (const bool adds : {false, true}) {
      passed = Report("norm", cuda::CheckNorm(card, {.rows = 33, .adds = adds, .threads = threads}, seed)) && passed;
      passed =
          Report("norm", cuda::CheckNorm(card, {.features = 1048, .adds = adds, .threads = threads}, seed)) && passed;
    }
  for (const bool in_place : {false, true}) {
    passed = Report("rope", cuda::CheckRope<RealCard, 128>(card, {.rows = 64, .in_place = in_place}, seed)) && passed;
    passed = Report("rope", cuda::CheckRope<RealCard, 64>(
                                card, {.rows = 3, .num_heads = 6, .kv_heads = 2, .block_size = 8, .in_place = in_place},
                                seed)) &&
             passed;
  }
  passed = Report("activation", cuda::CheckActivation(card, 17, 14336, seed)) && passed;
  for (const int parts : {1, 7, 64})
    passed =
        Report("arg max", cuda::CheckArgMax(card, {.rows = 5, .vocabulary = 128256, .parts = parts}, seed)) && passed;
  return passed;
}

}  // namespace quire::probe
