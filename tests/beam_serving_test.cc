// Beam search as it is served: through the scheduler, many searches at once, in a pool so small that groups are swapped
// and computed again. What Transformers finds, all the same.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "beam_goldens.h"
#include "runner/swap_file.h"
#include "runner/tiny_model_testing.h"
#include "scheduled_serving.h"

namespace quire {
namespace {

using testing::BeamGolden;

SchedulerConfig Config(const std::vector<BeamGolden>& goldens) {
  SchedulerConfig config;
  config.max_num_seqs = 60;
  config.max_num_batched_tokens = 64;
  config.block_size = 4;
  config.max_model_len = 0;
  for (const BeamGolden& golden : goldens) {
    const auto total = static_cast<uint32_t>(golden.prompt.size()) + static_cast<uint32_t>(*golden.params.max_tokens);
    config.max_model_len = std::max(config.max_model_len, total + 1);
    const uint32_t num_shared = static_cast<uint32_t>(golden.prompt.size()) / config.block_size;
    const uint32_t num_own = BlocksForTokens(total, config.block_size) - num_shared;
    const uint32_t worst = num_shared + static_cast<uint32_t>(golden.params.n) * num_own;  // what one needs alone
    config.num_blocks = std::max(config.num_blocks, worst);
  }
  config.num_swap_blocks = config.num_blocks;
  config.chunk_budget.target_ratio = 0;
  return config;
}

std::map<RequestId, Transcript> Serve(const std::string& model_directory, const std::vector<BeamGolden>& goldens,
                                      PreemptionMode mode) {
  SchedulerConfig config = Config(goldens);
  config.preemption_mode = mode;
  auto backend = MakeCpuBackend({.num_threads = 2, .isa = "auto"});
  QUIRE_CHECK(backend.ok());
  auto model = Model::Load(model_directory, **backend, {.dtype = ComputeDType::kF32});
  QUIRE_CHECK(model.ok(), "{}", model.error().message);
  KvShape shape = (*model)->kv_shape();
  shape.block_size = static_cast<int32_t>(config.block_size);
  shape.dtype = DType::kF32;
  auto swap = SwapFile::Create({.num_places = config.num_swap_blocks, .place_bytes = shape.BytesPerBlock()});
  QUIRE_CHECK(swap.ok());
  BlockStores stores;
  stores.swap = *std::move(swap);
  auto runner = ModelRunner::Create(**backend, **model,
                                    {.max_num_seqs = static_cast<int32_t>(config.max_num_seqs),
                                     .max_num_batched_tokens = static_cast<int32_t>(config.max_num_batched_tokens),
                                     .max_model_len = static_cast<int32_t>(config.max_model_len),
                                     .num_blocks = static_cast<int32_t>(config.num_blocks),
                                     .block_size = static_cast<int32_t>(config.block_size),
                                     .kv_dtype = DType::kF32},
                                    std::move(stores));
  QUIRE_CHECK(runner.ok(), "{}", runner.error().message);
  std::vector<Job> jobs;
  for (size_t i = 0; i < goldens.size(); ++i) {
    Job job;
    job.request.id = RequestId{i};
    job.request.prompt = goldens[i].prompt;
    job.request.eos_token_ids = goldens[i].eos_token_ids;
    job.request.params = goldens[i].params;
    job.request.params.seed = 0;
    jobs.push_back(std::move(job));
  }
  Serving serving(config, **runner);
  auto transcript = serving.Run(jobs);
  const SchedulerStats stats = serving.scheduler().Stats();
  EXPECT_GT(mode == PreemptionMode::kSwap ? stats.preemptions[PreemptionMode::kSwap]
                                          : stats.preemptions[PreemptionMode::kRecompute],
            0U);
  return transcript;
}

class BeamServing : public ::testing::TestWithParam<PreemptionMode> {};

TEST_P(BeamServing, FindsWhatTransformersFindsThoughSearchesShareASmallPool) {
  std::map<std::string, std::vector<BeamGolden>> by_model;
  for (BeamGolden& golden : testing::ReadBeamGoldens()) by_model[golden.model].push_back(golden);
  for (const auto& [model, goldens] : by_model) {
    const std::map<RequestId, Transcript> transcript = Serve(model, goldens, GetParam());
    for (size_t i = 0; i < goldens.size(); ++i) {
      SCOPED_TRACE(::testing::Message() << model << ", case " << i);
      const Transcript& answer = transcript.at(RequestId{i});
      ASSERT_EQ(answer.streams.size(), goldens[i].sequences.size());
      for (const auto& [rank, hypothesis] : answer.streams) {
        EXPECT_EQ(hypothesis.ids(), goldens[i].sequences[rank]);
        EXPECT_NEAR(hypothesis.score, goldens[i].scores[rank], testing::ScoreTolerance(goldens[i], rank));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Preemption, BeamServing, ::testing::Values(PreemptionMode::kRecompute, PreemptionMode::kSwap));

}  // namespace
}  // namespace quire
