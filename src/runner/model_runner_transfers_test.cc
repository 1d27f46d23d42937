// Blocks that leave the KV cache and come back: what a sequence says is what it would have said.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/env_testing.h"
#include "runner/model_runner.h"
#include "runner/plan_driver_testing.h"
#include "runner/swap_file.h"
#include "runner/tiny_model_testing.h"

namespace quire {
namespace {

using Kind = Transfer::Kind;
using Ids = std::vector<uint64_t>;

constexpr uint32_t kBlockSize = 4;
// Of the pool's 200 blocks the driver has these; the tests use the others.
constexpr uint32_t kDriverBlocks = 140;

ModelRunnerOptions Options() {
  return {.max_num_seqs = 8,
          .max_num_batched_tokens = 256,
          .max_model_len = 256,
          .num_blocks = 200,
          .block_size = kBlockSize,
          .kv_dtype = DType::kBf16};
}

SamplingParams Sampled(int32_t max_tokens) {
  SamplingParams params;
  params.seed = 3;
  params.max_tokens = max_tokens;
  params.logprobs = 2;
  params.frequency_penalty = 0.5F;
  return params;
}

// Sequences 0 and 1 after ten steps, and what they say when nothing happens to them.
class ModelRunnerTransfers : public testing::Test {
 protected:
  ModelRunnerTransfers() : model_(LoadTestModel(GoldenDirectory("qwen2"), 2)) {
    std::mt19937 random(8);
    for (auto& prompt : prompts_) {
      prompt.resize(18);
      for (int32_t& token : prompt) token = static_cast<int32_t>(random() % 288);
    }
    const auto runner = model_.MakeRunner(Options());
    PlanDriver driver = Start(*runner);
    driver.Run();
    for (size_t i = 0; i < 2; ++i) expected_[i] = driver[i].output;
  }

  PlanDriver Start(ModelRunner& runner) const {
    PlanDriver driver(runner, kDriverBlocks, kBlockSize);
    for (const auto& prompt : prompts_) driver.Add(prompt, Sampled(30));
    for (int step = 0; step < 10; ++step) driver.Step(100);
    return driver;
  }
  std::unique_ptr<SwapStore> MakeSwap(const Env& env = Env::Posix()) const {
    KvShape shape = model_.model->kv_shape();
    shape.block_size = kBlockSize;
    shape.dtype = Options().kv_dtype;
    auto file = SwapFile::Create(
        {.directory = directory_.path(), .num_places = 40, .place_bytes = shape.BytesPerBlock(), .env = &env});
    EXPECT_TRUE(file.ok());
    return *std::move(file);
  }
  std::unique_ptr<DiskStore> OpenDisk() {
    auto disk = DiskStore::Open({.directory = directory_.path(), .fingerprint = {1, 2}, .env = &env_});
    EXPECT_TRUE(disk.ok());
    return *std::move(disk);
  }
  static StepResult RunPlan(ModelRunner& runner, const StepPlan& plan) {
    StepResult result;
    EXPECT_TRUE(runner.Run(plan, result).ok());
    return result;
  }

  // Sequence 0 enters again, with its history, on other blocks that its own come back to: its next step, not submitted.
  static StepPlan Reenter(PlanDriver& driver, uint32_t first_new_block) {
    driver[0].admitted = false;
    StepPlan plan = driver.MakePlan(100);
    std::vector<BlockAppend> appends;
    for (size_t i = 0; i < driver[0].blocks.size(); ++i) {
      const auto index = static_cast<uint32_t>(i);
      appends.push_back({SeatId{0}, 0, index, BlockId{first_new_block + index}});
    }
    std::erase_if(plan.appended_blocks, [](const BlockAppend& append) { return append.seat == SeatId{0}; });
    plan.appended_blocks.insert(plan.appended_blocks.begin(), appends.begin(), appends.end());
    for (size_t i = 0; i < appends.size(); ++i) driver[0].blocks[i] = appends[i].block;
    return plan;
  }

  // Rows of another sequence, in seat 5, over all these blocks: what was in them is gone.
  static void Overwrite(const std::vector<BlockId>& blocks, StepPlan& plan) {
    const auto num_rows = static_cast<uint32_t>(blocks.size()) * kBlockSize;
    const auto first_row = static_cast<uint32_t>(plan.num_rows());
    plan.admissions.push_back({.seat = SeatId{5}, .params = Sampled(100), .history = {1}, .num_prompt_tokens = 1});
    for (uint32_t i = 0; i < blocks.size(); ++i) plan.appended_blocks.push_back({SeatId{5}, 0, i, blocks[i]});
    plan.spans.push_back({SeatId{5}, first_row, num_rows, 0});
    for (uint32_t i = 0; i < num_rows; ++i) plan.tokens.push_back(77);
  }

  static std::vector<Transfer> MoveAll(Kind kind, const std::vector<BlockId>& blocks) {
    std::vector<Transfer> transfers;
    for (uint32_t i = 0; i < blocks.size(); ++i) {
      transfers.push_back({.id = 100 + i,
                           .kind = kind,
                           .block = blocks[i],
                           .place = 3 + 2 * i,
                           .digest = {i, i},
                           .parent = {i - 1, i - 1},
                           .first_token = i,
                           .num_tokens = kBlockSize});
    }
    return transfers;
  }
  static Ids IdsOf(const std::vector<Transfer>& transfers) {
    Ids ids;
    for (const Transfer& transfer : transfers) ids.push_back(transfer.id);
    return ids;
  }

  const TestModel model_;
  const TemporaryDirectory directory_;
  FaultEnv env_;
  std::vector<int32_t> prompts_[2];
  std::vector<Spoken> expected_[2];
};

TEST_F(ModelRunnerTransfers, ASwappedSequenceGoesOnBitForBit) {
  const auto runner = model_.MakeRunner(Options(), {.swap = MakeSwap()});
  PlanDriver driver = Start(*runner);
  const std::vector<BlockId> before = driver[0].blocks;
  StepPlan out;
  out.transfers = MoveAll(Kind::kSwapOut, before);
  out.removals = {SeatId{0}};
  Overwrite(before, out);  // in the same step: the blocks leave first
  const StepResult result = RunPlan(*runner, out);
  EXPECT_EQ(result.transfers_completed, IdsOf(out.transfers));
  EXPECT_TRUE(result.transfers_failed.empty());

  StepPlan in = Reenter(driver, 150);
  const std::vector<BlockId> after(driver[0].blocks.begin(),
                                   driver[0].blocks.begin() + static_cast<std::ptrdiff_t>(before.size()));
  in.transfers = MoveAll(Kind::kSwapIn, after);
  driver.result() = RunPlan(*runner, in);
  EXPECT_EQ(driver.result().transfers_completed, IdsOf(in.transfers));
  driver.Take();
  driver.Run();
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(driver[i].output, expected_[i]);
}

// Out, copies, in, rows: every block passes through all of them in one step.
TEST_F(ModelRunnerTransfers, AStepSwapsOutThenCopiesThenSwapsIn) {
  const auto runner = model_.MakeRunner(Options(), {.swap = MakeSwap()});
  PlanDriver driver = Start(*runner);
  const std::vector<BlockId> before = driver[0].blocks;
  StepPlan plan = Reenter(driver, 150);
  plan.removals = {SeatId{0}};
  const std::vector<BlockId> after(driver[0].blocks.begin(),
                                   driver[0].blocks.begin() + static_cast<std::ptrdiff_t>(before.size()));
  plan.transfers = MoveAll(Kind::kSwapIn, after);
  const std::vector<Transfer> outs = MoveAll(Kind::kSwapOut, before);
  plan.transfers.insert(plan.transfers.end(), outs.begin(), outs.end());
  // Onto the blocks that leave, and onto those that the swapped ones come to.
  for (uint32_t i = 0; i < before.size(); ++i) {
    plan.copies.push_back({SeatId{0}, 0, i, BlockId{199}, before[i]});
    plan.copies.push_back({SeatId{0}, 0, i, BlockId{199}, after[i]});
  }
  driver.result() = RunPlan(*runner, plan);
  driver.Take();
  driver.Run();
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(driver[i].output, expected_[i]);
}

TEST_F(ModelRunnerTransfers, ASwapThatFindsNoRoomFailsAlone) {
  const auto runner = model_.MakeRunner(Options(), {.swap = MakeSwap(env_)});
  PlanDriver driver = Start(*runner);
  env_.Fail(FaultEnv::Operation::kAllocate);
  StepPlan plan = driver.MakePlan(100);
  plan.transfers = MoveAll(Kind::kSwapOut, {driver[0].blocks[0], driver[0].blocks[1]});
  driver.result() = RunPlan(*runner, plan);
  EXPECT_EQ(driver.result().transfers_failed, IdsOf(plan.transfers));
  EXPECT_TRUE(driver.result().transfers_completed.empty());
  driver.Take();
  driver.Run();
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(driver[i].output, expected_[i]);
}

TEST_F(ModelRunnerTransfers, ASwapInOfWhatWasNeverWrittenFails) {
  const auto runner = model_.MakeRunner(Options(), {.swap = MakeSwap()});
  StepPlan plan;
  plan.transfers = {{.id = 9, .kind = Kind::kSwapIn, .block = BlockId{4}, .place = 7}};
  EXPECT_EQ(RunPlan(*runner, plan).transfers_failed, Ids{9});
}

TEST_F(ModelRunnerTransfers, WithoutStoresEveryTransferFailsWithItsStep) {
  const auto runner = model_.MakeRunner(Options());
  StepPlan plan;
  plan.step = 77;
  plan.await_transfers = true;
  for (const Kind kind : {Kind::kSwapOut, Kind::kStore, Kind::kDrop, Kind::kSwapIn, Kind::kLoad}) {
    plan.transfers.push_back({.id = 5 + plan.transfers.size(), .kind = kind});
  }
  StepResult result = RunPlan(*runner, plan);
  EXPECT_EQ(result.step, 77U);
  std::sort(result.transfers_failed.begin(), result.transfers_failed.end());
  EXPECT_EQ(result.transfers_failed, (Ids{5, 6, 7, 8, 9}));
}

TEST_F(ModelRunnerTransfers, RefusesSwapSpaceForOtherBlocks) {
  ModelRunnerOptions options = Options();
  options.block_size = 8;
  const auto runner = ModelRunner::Create(*model_.backend, *model_.model, options, {.swap = MakeSwap()});
  ASSERT_FALSE(runner.ok());
  EXPECT_EQ(runner.error().code, ErrorCode::kInvalidArgument);
}

// Submits the plan, then waits, step by step, until all its transfers are reported.
StepResult AwaitAll(ModelRunner& runner, StepPlan plan) {
  const size_t num_transfers = plan.transfers.size();
  StepResult all, result;
  const auto num_ended = [&all] { return all.transfers_completed.size() + all.transfers_failed.size(); };
  for (int round = 0; round < 4000 && num_ended() < num_transfers; ++round) {  // each waits for some ms
    plan.await_transfers = true;
    EXPECT_TRUE(runner.Run(plan, result).ok());
    for (const uint64_t id : result.transfers_completed) all.transfers_completed.push_back(id);
    for (const uint64_t id : result.transfers_failed) all.transfers_failed.push_back(id);
    plan.Clear();
  }
  EXPECT_EQ(num_ended(), num_transfers);
  std::sort(all.transfers_completed.begin(), all.transfers_completed.end());
  std::sort(all.transfers_failed.begin(), all.transfers_failed.end());
  return all;
}

TEST_F(ModelRunnerTransfers, BlocksOnDiskServeTheNextRunner) {
  DrivenSequence left;
  size_t num_full = 0;
  {
    const auto runner = model_.MakeRunner(Options(), {.disk = OpenDisk()});
    PlanDriver driver = Start(*runner);
    num_full = driver[0].num_computed / kBlockSize;
    StepPlan plan;
    plan.transfers = MoveAll(
        Kind::kStore, {driver[0].blocks.begin(), driver[0].blocks.begin() + static_cast<std::ptrdiff_t>(num_full)});
    plan.transfer_tokens = driver[0].tokens;
    EXPECT_EQ(AwaitAll(*runner, plan).transfers_completed, IdsOf(plan.transfers));
    left = driver[0];
  }
  auto disk = OpenDisk();
  EXPECT_EQ(disk->contents().size(), num_full);
  const auto runner = model_.MakeRunner(Options(), {.disk = std::move(disk)});
  PlanDriver driver(*runner, kDriverBlocks, kBlockSize);
  std::vector<BlockId> blocks;
  for (uint32_t i = 0; i < num_full; ++i) blocks.push_back(BlockId{150 + i});
  StepPlan load;
  load.transfers = MoveAll(Kind::kLoad, blocks);
  load.transfer_tokens = left.tokens;
  EXPECT_EQ(AwaitAll(*runner, load).transfers_completed, IdsOf(load.transfers));

  // It enters with these blocks, and computes from there on.
  driver.Add(left.tokens, left.params);
  driver[0] = left;
  driver[0].admitted = false;
  driver[0].blocks = blocks;
  driver[0].num_computed = static_cast<uint32_t>(num_full) * kBlockSize;
  StepPlan plan = driver.MakePlan(100);
  std::vector<BlockAppend> appends;
  appends.reserve(blocks.size());
  for (uint32_t i = 0; i < blocks.size(); ++i) appends.push_back({SeatId{0}, 0, i, blocks[i]});
  plan.appended_blocks.insert(plan.appended_blocks.begin(), appends.begin(), appends.end());
  driver.result() = RunPlan(*runner, plan);
  driver.Take();
  driver.Run();
  EXPECT_EQ(driver[0].output, expected_[0]);
}

// Stores and loads run beside steps that compute, and end with whichever step finds them.
TEST_F(ModelRunnerTransfers, DiskTransfersRunBesideSteps) {
  const auto runner = model_.MakeRunner(Options(), {.disk = OpenDisk(), .num_disk_threads = 2});
  PlanDriver driver = Start(*runner);
  const std::vector<BlockId> full(driver[0].blocks.begin(), driver[0].blocks.begin() + 4);
  Ids completed;
  size_t num_issued = 0;
  for (uint32_t round = 0; !driver[0].done(); ++round) {
    StepPlan plan = driver.MakePlan(100);
    if (round == 0 || (completed.size() == num_issued && round % 2 == 0)) {
      const std::vector<BlockId> spare = {BlockId{180}, BlockId{181}, BlockId{182}, BlockId{183}};
      plan.transfers = round == 0 ? MoveAll(Kind::kStore, full) : MoveAll(Kind::kLoad, spare);
      plan.transfer_tokens = prompts_[0];
      num_issued += 4;
    }
    driver.result() = RunPlan(*runner, plan);
    for (const uint64_t id : driver.result().transfers_completed) completed.push_back(id);
    EXPECT_TRUE(driver.result().transfers_failed.empty());
    driver.Take();
  }
  driver.Run();
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(driver[i].output, expected_[i]);
}

TEST_F(ModelRunnerTransfers, ADiskThatFailsConcernsItsTransfersAlone) {
  const auto runner = model_.MakeRunner(Options(), {.disk = OpenDisk()});
  PlanDriver driver = Start(*runner);
  StepPlan plan;
  plan.transfers = MoveAll(Kind::kStore, {driver[0].blocks[0], driver[0].blocks[1]});
  plan.transfer_tokens = driver[0].tokens;
  env_.Fail(FaultEnv::Operation::kWrite, 1);
  const StepResult stored = AwaitAll(*runner, plan);
  EXPECT_EQ(stored.transfers_failed, Ids{100});
  EXPECT_EQ(stored.transfers_completed, Ids{101});
  plan.transfers = MoveAll(Kind::kLoad, {BlockId{190}, BlockId{191}});
  plan.transfer_tokens[4] = plan.transfer_tokens[4] + 1;  // of the second block
  EXPECT_EQ(AwaitAll(*runner, plan).transfers_failed, (Ids{100, 101}));
  driver.Run();
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(driver[i].output, expected_[i]);
}

}  // namespace
}  // namespace quire
