// Windows bound memory: a model whose layers see the last positions alone serves any context from a pool that holds
// little more than the window, with the very tokens that it says where nothing is given back; and with windows beside
// full layers a pool serves the more sequences.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "kv/kv_space.h"
#include "runner/tiny_model_testing.h"
#include "scheduled_serving.h"

namespace quire {
namespace {

constexpr uint32_t kContext = 500;
constexpr uint32_t kNumRows = 32;  // of a step

// A long prompt, and a long answer.
Request LongRequest(uint64_t id, int32_t vocab_size) {
  Request request{.id = RequestId{id}};
  std::mt19937 random(static_cast<unsigned>(id));
  for (int i = 0; i < 380; ++i)
    request.prompt.push_back(static_cast<int32_t>(random() % static_cast<unsigned>(vocab_size)));
  request.params.max_tokens = 110;
  request.params.seed = id;
  request.params.ignore_eos = true;
  return request;
}

SchedulerConfig ConfigOf(const std::vector<KvGroup>& kv_groups) {
  SchedulerConfig config;
  config.max_num_seqs = 8;
  config.max_num_batched_tokens = kNumRows;
  config.max_model_len = kContext;
  config.watermark = 0;
  config.kv_groups = kv_groups;
  config.chunk_budget.target_ratio = 0;
  return config;
}

std::map<RequestId, Transcript> Serve(const TestModel& model, const SchedulerConfig& config, uint64_t num_requests) {
  const auto runner = model.MakeRunner({.max_num_seqs = static_cast<int32_t>(config.max_num_seqs),
                                        .max_num_batched_tokens = static_cast<int32_t>(config.max_num_batched_tokens),
                                        .max_model_len = static_cast<int32_t>(config.max_model_len),
                                        .num_blocks = static_cast<int32_t>(config.num_blocks),
                                        .block_size = static_cast<int32_t>(config.block_size),
                                        .kv_dtype = DType::kF32});
  std::vector<Job> jobs;
  for (uint64_t id = 0; id < num_requests; ++id) {
    jobs.push_back({.request = LongRequest(id, model.model->config().vocab_size)});
  }
  return Serving(config, *runner).Run(jobs);
}

TEST(WindowedMemoryTest, AWindowServesAnyContextFromAPoolOfItsOwnSize) {
  const TestModel model = LoadTestModel(GoldenDirectory("mistral-window"));
  const KvLayout& layout = model.model->kv_layout();
  ASSERT_EQ(layout.groups.size(), 1U);
  ASSERT_EQ(layout.groups[0].window, 64);
  SchedulerConfig everything = ConfigOf({KvGroup{}});
  everything.num_blocks = 3 * BlocksForTokens(kContext, everything.block_size);
  const auto expected = Serve(model, everything, 3);

  SchedulerConfig windowed = ConfigOf(KvGroupsOf(layout));
  windowed.num_blocks = static_cast<uint32_t>(WorstCaseOf(KvConfigOf(windowed), kContext - 1, kContext).total(1));
  EXPECT_EQ(windowed.num_blocks, (64U + kNumRows) / windowed.block_size + 2) << "of the 32 that the context has";
  const auto answers = Serve(model, windowed, 3);
  ASSERT_EQ(answers.size(), 3U);
  for (const auto& [id, transcript] : answers) {
    EXPECT_TRUE(transcript.ended);
    EXPECT_EQ(transcript.streams.at(0).ids().size(), 110U);
    EXPECT_EQ(transcript, expected.at(id)) << "request " << static_cast<uint64_t>(id);
  }
}

// Layers as in a model that is five sixths windows: how many streams of a request run side by side in one pool. Blocks
// of a pool without groups hold all layers, those of one with groups a sixth.
TEST(WindowedMemoryTest, MoreSequencesRunWhereMostLayersAreWindows) {
  const auto num_side_by_side = [](const std::vector<KvGroup>& kv_groups, uint32_t num_blocks) {
    SchedulerConfig config = ConfigOf(kv_groups);
    config.max_num_seqs = 1000;
    config.max_num_batched_tokens = 1000;
    config.max_model_len = 32'768;
    config.num_blocks = num_blocks;
    Request request{.id = RequestId{1}};
    request.prompt.assign(1, 1);
    request.params.max_tokens = 32'767;
    request.params.n = 1000;
    return NumSideBySide(config, request, 0);
  };
  std::vector<KvGroup> groups(6, KvGroup{.window = 1024});
  groups[0].window = 0;
  constexpr uint32_t kNumBlocks = 10 * 32'768 / 16;
  const uint32_t all_full = num_side_by_side({KvGroup{}}, kNumBlocks);
  const uint32_t mostly_windows = num_side_by_side(groups, 6 * kNumBlocks);
  EXPECT_EQ(all_full, 10U);
  EXPECT_EQ(mostly_windows, 47U);
}

}  // namespace
}  // namespace quire
