// The kernel on the emulator against sums in double precision, and its promise that batches do not change bits.
#include "kernels/dequant_linear.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "kernels/dequant_linear_testing.h"

namespace quire::cuda {
namespace {

using Format = WeightFormat;
constexpr Format kFormats[] = {Format::kBf16, Format::kInt8, Format::kInt4Group128, Format::kInt4Group32};

// A cluster on an emulator that runs one block after the other: what blocks leave in shared memory is kept, and a
// launch repeated reads what the launch before it left.
struct RepeatedCluster {
  static constexpr bool kIsCluster = true;
  static void PrefetchToL2(const void*, int) {}
  static void Sync() {
    simt::SyncThreads();
    if (simt::ThreadId() == 0) {
      std::vector<char>& copy = memories[{simt::BlockX(), simt::BlockY()}];
      copy.assign(simt::SharedMemory(), simt::SharedMemory() + shared_bytes);
    }
    simt::SyncThreads();
  }
  static void Leave() {}
  static simt::Vec4 Load16(const char* shared, int rank) {
    const auto found = memories.find({simt::BlockX(), rank});
    if (found == memories.end()) return {};
    return simt::Load16(found->second.data() + (shared - simt::SharedMemory()));
  }

  static inline std::map<std::pair<int, int>, std::vector<char>> memories;
  static inline size_t shared_bytes = 0;
};

enum class How : uint8_t { kGrid, kCluster, kTokenBlocks };

template <typename Block>
std::string LaunchBlocks(const LinearArgs& args, int launches) {
  const simt::LaunchShape shape = {.grid_x = args.n / kBlockRows << args.token_blocks_log2,
                                   .grid_y = args.splits,
                                   .threads = kLinearThreads,
                                   .shared_bytes = Block::kSharedBytes,
                                   .seed = static_cast<uint64_t>(args.m)};
  RepeatedCluster::memories.clear();
  RepeatedCluster::shared_bytes = Block::kSharedBytes;
  std::string error;
  for (int i = 0; i < launches && error.empty(); ++i) error = simt::Launch(shape, [&] { Block(args).Run(); });
  return error;
}

template <Format kFormat, int kTokenTiles>
std::string LaunchHow(How how, const LinearArgs& args) {
  if (how == How::kGrid) return LaunchBlocks<LinearBlock<kFormat, kTokenTiles>>(args, 1);
  if (how == How::kCluster) return LaunchBlocks<LinearBlock<kFormat, kTokenTiles, RepeatedCluster>>(args, 2);
  LinearArgs several = args;
  several.token_blocks_log2 = 2;  // the last ones without tokens, where there are few
  return LaunchBlocks<LinearBlock<kFormat, 2>>(several, 1);
}

template <Format kFormat>
std::string LaunchTiles(How how, const LinearArgs& args) {
  switch (TokenTiles(args.m)) {
    case 1:
      return LaunchHow<kFormat, 1>(how, args);
    case 2:
      return LaunchHow<kFormat, 2>(how, args);
    default:
      return LaunchHow<kFormat, 4>(how, args);
  }
}

std::string LaunchLinear(Format format, How how, const LinearArgs& args) {
  switch (format) {
    case Format::kBf16:
      return LaunchTiles<Format::kBf16>(how, args);
    case Format::kInt8:
      return LaunchTiles<Format::kInt8>(how, args);
    case Format::kInt4Group128:
      return LaunchTiles<Format::kInt4Group128>(how, args);
    default:
      return LaunchTiles<Format::kInt4Group32>(how, args);
  }
}

// y [m, n] of the kernel, in an array that was NaN.
std::vector<uint16_t> Multiply(const LinearCase& layer, const std::vector<uint16_t>& x, int m, int splits,
                               How how = How::kGrid) {
  const auto size_m = static_cast<size_t>(m), size_n = static_cast<size_t>(layer.n);
  const std::vector<uint32_t> packed = PackWeights(layer);
  const std::vector<uint16_t> group_scales = PackScales(layer);
  const size_t size_k = static_cast<size_t>(layer.k), pitch = size_k + 8;
  std::vector<uint16_t> padded(size_m * pitch, 0xFFFF);
  for (size_t token = 0; token < size_m; ++token)
    std::copy_n(x.data() + token * size_k, size_k, padded.data() + token * pitch);
  std::vector<uint16_t> y(size_m * size_n, 0xFFFF);
  std::vector<float> partial(static_cast<size_t>(splits) * size_m * size_n, NAN);
  std::vector<int32_t> arrived(size_n / kBlockRows * 4, 0);
  const LinearArgs args = {.weights = packed.data(),
                           .group_scales = group_scales.data(),
                           .row_scales = layer.row_scales.data(),
                           .x = padded.data(),
                           .y = y.data(),
                           .partial = partial.data(),
                           .arrived = arrived.data(),
                           .m = m,
                           .n = layer.n,
                           .k = layer.k,
                           .x_pitch = static_cast<int32_t>(pitch),
                           .splits = splits,
                           .token_blocks_log2 = TokenBlocksLog2(m),
                           .ahead_bytes = 4096};
  EXPECT_EQ(LaunchLinear(layer.format, how, args), "");
  EXPECT_THAT(arrived, testing::Each(0));
  return y;
}

TEST(DequantLinear, PackingPlacesEveryBitOnce) {
  constexpr int kRows = 64, kColumns = 256;
  for (const Format format : kFormats) {
    const int bits = WeightBits(format);
    std::vector<int> uses(static_cast<size_t>(kRows * kColumns * bits));
    for (int row = 0; row < kRows; ++row)
      for (int k = 0; k < kColumns; ++k) {
        const int64_t first = PackedBit(format, row, k, kColumns);
        for (int64_t bit = first; bit < first + bits; ++bit) ++uses.at(static_cast<size_t>(bit));
      }
    EXPECT_THAT(uses, testing::Each(1)) << FormatName(format);
  }
  std::vector<int> uses(64 * 6);
  for (int row = 0; row < 64; ++row)
    for (int group = 0; group < 6; ++group) ++uses.at(static_cast<size_t>(PackedScale(row, group, 6)));
  EXPECT_THAT(uses, testing::Each(1));
}

TEST(DequantLinear, EqualsSumsInDoublePrecision) {
  struct Shape {
    int m, n, k, splits;
  };
  // Slices with nothing to do, with less than the ring holds, of unequal length, and that go around the ring.
  for (const Shape& shape :
       {Shape{3, 128, 128, 1}, {9, 256, 640, 3}, {1, 128, 1536, 1}, {20, 128, 896, 1}, {64, 128, 1152, 1}})
    for (const Format format : kFormats) {
      const LinearCase layer = RandomCase(format, shape.n, shape.k, 17);
      const std::vector<uint16_t> x = RandomTokens(shape.m, shape.k, 18);
      const std::vector<uint16_t> y = Multiply(layer, x, shape.m, shape.splits);
      EXPECT_EQ(FirstMismatch(layer, x, y, shape.m), std::nullopt)
          << FormatName(format) << " m " << shape.m << " n " << shape.n << " k " << shape.k;
    }
}

TEST(DequantLinear, ATokensBitsDoNotDependOnItsBatch) {
  constexpr int kN = 128, kK = 768, kSplits = 2;
  for (const Format format : kFormats) {
    const LinearCase layer = RandomCase(format, kN, kK, 5);
    const std::vector<uint16_t> x = RandomTokens(kMaxTokens, kK, 6);
    const std::vector<uint16_t> all = Multiply(layer, x, kMaxTokens, kSplits);
    for (const int m : {1, 13, 32}) {
      const std::vector<uint16_t> some = Multiply(layer, x, m, kSplits);
      EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << FormatName(format) << " m " << m;
    }
  }
}

TEST(DequantLinear, ClustersAndBlocksOfTokensGiveTheSameBits) {
  constexpr int kN = 256, kK = 896, kSplits = 3;
  for (const Format format : kFormats) {
    const LinearCase layer = RandomCase(format, kN, kK, 8);
    const std::vector<uint16_t> x = RandomTokens(kMaxTokens, kK, 9);
    for (const int m : {2, 11, 30, 64}) {
      const std::vector<uint16_t> y = Multiply(layer, x, m, kSplits);
      for (const How how : {How::kCluster, How::kTokenBlocks})
        EXPECT_EQ(Multiply(layer, x, m, kSplits, how), y)
            << FormatName(format) << " m " << m << " how " << static_cast<int>(how);
    }
  }
}

TEST(DequantLinear, EveryCodeIsExact) {
  // Each token picks one column of the weights, and the scales are 1: y is the weight.
  constexpr int kN = 128, kK = 128;
  for (const Format format : {Format::kInt8, Format::kInt4Group128}) {
    LinearCase layer = RandomCase(format, kN, kK, 7);
    const int codes = 1 << WeightBits(format), lowest = -codes / 2;
    for (size_t i = 0; i < layer.codes.size(); ++i)
      layer.codes[i] = static_cast<int16_t>(lowest + (static_cast<int>(i) * 5 + static_cast<int>(i) / kK) % codes);
    std::fill(layer.row_scales.begin(), layer.row_scales.end(), 1.0F);
    std::fill(layer.group_scales.begin(), layer.group_scales.end(), uint16_t{0x3F80});
    for (int first = 0; first < kK; first += kMaxTokens) {
      std::vector<uint16_t> x(size_t{kMaxTokens} * kK, 0);
      for (size_t token = 0; token < kMaxTokens; ++token) x[token * kK + static_cast<size_t>(first) + token] = 0x3F80;
      const std::vector<uint16_t> y = Multiply(layer, x, kMaxTokens, 1);
      for (size_t token = 0; token < kMaxTokens; ++token)
        for (size_t row = 0; row < kN; ++row)
          ASSERT_EQ(FromBf16(y[token * kN + row]), layer.codes[row * kK + static_cast<size_t>(first) + token])
              << FormatName(format) << " row " << row << " k " << static_cast<size_t>(first) + token;
    }
  }
}

TEST(DequantLinear, SplitsCoverAMultiprocessorTwiceAndDivideEvenly) {
  EXPECT_EQ(LinearSplits(6144, 4096), 4);
  EXPECT_EQ(LinearSplits(4096, 4096), 4);
  EXPECT_EQ(LinearSplits(28672, 4096), 1);
  EXPECT_EQ(LinearSplits(4096, 14336), 7);
  EXPECT_EQ(LinearSplits(128256, 4096), 1);
}

TEST(DequantLinear, NamesTheSizeThatItCannotTake) {
  EXPECT_EQ(LinearShapeError(64, 6144, 4096), nullptr);
  EXPECT_THAT(LinearShapeError(65, 6144, 4096), testing::HasSubstr("tokens"));
  EXPECT_THAT(LinearShapeError(0, 6144, 4096), testing::HasSubstr("tokens"));
  EXPECT_THAT(LinearShapeError(1, 6160, 4096), testing::HasSubstr("n (rows"));
  EXPECT_THAT(LinearShapeError(1, 6144, 4000), testing::HasSubstr("k (columns"));
}

}  // namespace
}  // namespace quire::cuda
