#include "runner/block_transfers.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "backend/backend_factory.h"

namespace quire {
namespace {

using Kind = Transfer::Kind;
using Bytes = std::vector<std::byte>;

constexpr TimeUs kGrowthUs = 1'000'000;
constexpr uint32_t kNumPlaces = 4;

// A microsecond passes whenever it is asked.
class TickingClock final : public Clock {
 public:
  TimeUs NowUs() const override { return now_us_++; }
  void Advance(TimeUs us) { now_us_ += us; }

 private:
  mutable TimeUs now_us_ = 0;
};

// In memory; it grows for every place that is written to.
class GrowingSwap final : public SwapStore {
 public:
  GrowingSwap(TickingClock& clock, size_t place_bytes)
      : clock_(clock), place_bytes_(place_bytes), memory_(kNumPlaces * place_bytes) {}
  uint32_t num_places() const override { return kNumPlaces; }
  size_t place_bytes() const override { return place_bytes_; }
  Result<std::byte*> PlaceForWrite(uint32_t place) override {
    clock_.Advance(kGrowthUs);
    return memory_.data() + place * place_bytes_;
  }
  Result<const std::byte*> PlaceForRead(uint32_t place) override { return memory_.data() + place * place_bytes_; }

 private:
  TickingClock& clock_;
  const size_t place_bytes_;
  Bytes memory_;
};

TEST(BlockTransfers, SwapSpaceThatGrowsDoesNotMakeTheMoveLookDear) {
  const auto backend = *MakeCpuBackend({.num_threads = 1, .isa = "ref"});
  const auto cache = *backend->AllocateKvCache({.num_layers = 1, .num_blocks = 4, .num_kv_heads = 1, .head_dim = 8});
  const size_t block_bytes = cache->shape().BytesPerBlock();
  TickingClock clock;
  BlockTransfers transfers(*backend, *cache, {.swap = std::make_unique<GrowingSwap>(clock, block_bytes)}, clock);
  const Bytes ones(block_bytes, std::byte{1}), twos(block_bytes, std::byte{2});
  backend->WriteBlock(*cache, 0, ones.data());
  backend->WriteBlock(*cache, 1, twos.data());

  StepPlan out, in;
  StepResult result;
  out.transfers = {{.id = 1, .kind = Kind::kSwapOut, .block = BlockId{0}, .place = 3},
                   {.id = 2, .kind = Kind::kSwapOut, .block = BlockId{1}, .place = 0}};
  EXPECT_EQ(transfers.MoveOut(out, result), 2 * kGrowthUs + 2);
  EXPECT_EQ(result.swap_out_us, 1);
  EXPECT_EQ(transfers.MoveIn(out, result), 1);
  EXPECT_EQ(result.swap_in_us, 0);

  in.transfers = {{.id = 3, .kind = Kind::kSwapIn, .block = BlockId{2}, .place = 3},
                  {.id = 4, .kind = Kind::kSwapIn, .block = BlockId{3}, .place = 0}};
  EXPECT_EQ(transfers.MoveOut(in, result), 1);
  EXPECT_EQ(transfers.MoveIn(in, result), 2);
  EXPECT_EQ(result.swap_in_us, 1);
  EXPECT_EQ(transfers.MoveIn({}, result), 0);
  EXPECT_EQ(result.transfers_completed, (std::vector<uint64_t>{1, 2, 3, 4}));
  Bytes moved(block_bytes);
  backend->ReadBlock(*cache, 2, moved.data());
  EXPECT_EQ(moved, ones);
  backend->ReadBlock(*cache, 3, moved.data());
  EXPECT_EQ(moved, twos);
}

}  // namespace
}  // namespace quire
