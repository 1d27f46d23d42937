// The kernels between products on the emulator against plain loops.
#include "kernels/elementwise.h"

#include <gtest/gtest.h>

#include "kernels/elementwise_testing.h"

namespace quire::cuda {
namespace {

struct EmulatedCard {
  template <typename T>
  class Array {
   public:
    explicit Array(const std::vector<T>& values) : values_(values.begin(), values.end()) {}
    T* data() const { return values_.data(); }
    std::vector<T> Download() const { return {values_.begin(), values_.end()}; }

   private:
    mutable std::vector<T> values_;  // const as DeviceArray is: the pointer, not what it points at
  };

  void Embed(const EmbeddingArgs& args, int rows) {
    Run(RowsShape(VecBlocks(args.features, kRowThreads), rows), [&] { GatherEmbedding(args); });
  }
  void Norm(const RmsNormArgs& args, int rows, int threads) {
    if (threads == 256) return NormOf<256, 2>(args, rows);
    if (threads == 512) return NormOf<512, 1>(args, rows);
    NormOf<1024, 1>(args, rows);
  }
  template <int kHeadDim>
  void Rope(const RopeArgs& args, int rows) {
    Run(RowsShape(RopeBlocks<kHeadDim>(args.num_heads, args.kv.kv_heads), rows), [&] { RopeAndWrite<kHeadDim>(args); });
  }
  void Activate(const ActivationArgs& args, int rows) {
    Run(RowsShape(VecBlocks(args.features, kRowThreads), rows), [&] { GatedActivation(args); });
  }
  void Choose(const ArgMaxArgs& args, int rows) {
    Run({.grid_x = args.parts,
         .grid_y = rows,
         .threads = kArgMaxThreads,
         .shared_bytes = kArgMaxSharedBytes,
         .seed = ++seed},
        [&] { ArgMax(args); });
  }

  uint64_t seed = 0;

 private:
  template <int kThreads, int kVecs>
  void NormOf(const RmsNormArgs& args, int rows) {
    Run({.grid_x = rows, .threads = kThreads, .shared_bytes = kRmsNormSharedBytes<kThreads>, .seed = ++seed},
        [&] { RmsNorm<kThreads, kVecs>(args); });
  }
  simt::LaunchShape RowsShape(int blocks, int rows) {
    return {.grid_x = blocks, .grid_y = rows, .threads = kRowThreads, .seed = ++seed};
  }
  static void Run(const simt::LaunchShape& shape, FunctionRef<void()> kernel) {
    EXPECT_EQ(simt::Launch(shape, kernel), "");
  }
};

#define EXPECT_RIGHT(check) EXPECT_EQ((check).value_or("right"), "right")

TEST(GatherEmbedding, CopiesTheRowsOfTheTable) {
  EmulatedCard card;
  EXPECT_RIGHT(CheckEmbedding(card, 5, 4096, 1));
  EXPECT_RIGHT(CheckEmbedding(card, 2, 1032, 2));  // a block of threads and one thread
}

TEST(RmsNorm, NormalisesEveryRowWithWhateverThreads) {
  EmulatedCard card;
  for (const int threads : {256, 512, 1024})
    for (const bool adds : {false, true}) {
      SCOPED_TRACE(threads);
      EXPECT_RIGHT(CheckNorm(card, {.rows = 3, .features = 4096, .adds = adds, .threads = threads}, 3));
      EXPECT_RIGHT(CheckNorm(card, {.rows = 2, .features = 1048, .adds = adds, .threads = threads}, 4));
      EXPECT_RIGHT(CheckNorm(card, {.rows = 1, .features = 8, .adds = adds, .threads = threads}, 5));
    }
}

TEST(RmsNorm, ARowDoesNotKnowItsBatch) {
  constexpr size_t kFeatures = 2048, kRows = 3;
  EmulatedCard card;
  Numbers numbers(6);
  const std::vector<float> residual = numbers.Floats(kRows * kFeatures);
  const EmulatedCard::Array<uint16_t> weight(numbers.Bf16(kFeatures));
  const auto norm = [&](size_t first, size_t rows) {
    const EmulatedCard::Array<float> part(
        std::vector<float>(residual.begin() + static_cast<std::ptrdiff_t>(first * kFeatures),
                           residual.begin() + static_cast<std::ptrdiff_t>((first + rows) * kFeatures)));
    const EmulatedCard::Array<uint16_t> y(std::vector<uint16_t>(rows * kFeatures, kPoisonBf16));
    card.Norm(
        {.residual = part.data(), .weight = weight.data(), .y = y.data(), .features = kFeatures, .epsilon = 1e-5F},
        static_cast<int>(rows), 256);
    return y.Download();
  };
  const std::vector<uint16_t> all = norm(0, kRows);
  const std::vector<uint16_t> last = norm(kRows - 1, 1);
  EXPECT_TRUE(std::equal(last.begin(), last.end(), all.begin() + (kRows - 1) * kFeatures));
}

TEST(RopeAndWrite, RotatesQueriesAndKeysAndWritesTheSlotsOfItsRowsAlone) {
  EmulatedCard card;
  for (const bool in_place : {false, true}) {
    EXPECT_RIGHT((CheckRope<EmulatedCard, 128>(card, {.rows = 4, .in_place = in_place}, 7)));
    EXPECT_RIGHT((CheckRope<EmulatedCard, 64>(
        card, {.rows = 3, .num_heads = 6, .kv_heads = 2, .block_size = 8, .in_place = in_place}, 8)));
  }
  EXPECT_RIGHT((CheckRope<EmulatedCard, 128>(card, {.num_heads = 7, .kv_heads = 1, .block_size = 64}, 9)));
}

TEST(GatedActivation, IsSiluOfTheGateTimesUp) {
  EmulatedCard card;
  EXPECT_RIGHT(CheckActivation(card, 3, 1792, 10));
  EXPECT_RIGHT(CheckActivation(card, 1, 8, 11));
}

TEST(ArgMax, IsTheLowestOfTheLargestAndNeverNan) {
  EmulatedCard card;
  for (const int parts : {1, 3, 40}) {
    SCOPED_TRACE(parts);
    EXPECT_RIGHT(CheckArgMax(card, {.rows = 4, .vocabulary = 8200, .parts = parts}, 12));
  }
  EXPECT_RIGHT(CheckArgMax(card, {.rows = 2, .vocabulary = 8, .parts = 2}, 13));
}

TEST(ArgMax, MinusInfinityWinsOverNan) {
  EmulatedCard card;
  std::vector<uint16_t> row(16, kPoisonBf16);
  row[11] = row[13] = 0xFF80;
  const EmulatedCard::Array<uint16_t> logits(row);
  const EmulatedCard::Array<float> best(std::vector<float>(2));
  const EmulatedCard::Array<int32_t> arrived(std::vector<int32_t>(1)), ids(std::vector<int32_t>(1, -7));
  card.Choose(
      {.logits = logits.data(), .vocabulary = 16, .best = best.data(), .arrived = arrived.data(), .ids = ids.data()},
      1);
  EXPECT_EQ(ids.Download()[0], 11);
}

}  // namespace
}  // namespace quire::cuda
