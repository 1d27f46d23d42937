#include "llm/load_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace quire {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Complaint(const LoadOptions& options) {
  const Status status = CheckLoadOptions(options);
  return status.ok() ? std::string() : status.error().message;
}

TEST(LoadOptions, DefaultsAreAllowed) { EXPECT_EQ(Complaint({}), ""); }

TEST(LoadOptions, ABadValueIsNamedWithItsOptionAndWhatIsAllowed) {
  EXPECT_EQ(Complaint({.max_num_seqs = 0}), "--max-num-seqs: 0 is out of range: it must be from 1 to 65536");
  EXPECT_EQ(Complaint({.threads = 1025}), "--threads: 1025 is out of range: it must be at most 1024");
  EXPECT_EQ(Complaint({.max_model_len = 0}), "--max-model-len: 0 is out of range: it must be from 1");
  EXPECT_EQ(Complaint({.block_size = 3}),
            "--block-size: \"3\" is not known: use one of 1, 2, 4, 8, 16, 32, 64, 128, 256");
  EXPECT_EQ(Complaint({.batching = static_cast<Batching>(9)}),
            "--batching: \"9\" is not known: use one of continuous, static");
  EXPECT_EQ(Complaint({.dtype = "int8"}),
            "--dtype: \"int8\" is not known: use one of auto, bfloat16, float32, float, float16, half");
  EXPECT_EQ(Complaint({.gpu_memory_utilization = std::numeric_limits<double>::quiet_NaN()}),
            "--gpu-memory-utilization: nan is out of range: it must be from 0.01 to 1");
  EXPECT_THAT(Complaint({.swap_space = "lots"}), StartsWith("--swap-space: \"lots\" is not a size: write"));
  EXPECT_THAT(Complaint({.prefix_cache_disk = ""}), StartsWith("--prefix-cache-disk: \"\" is not a size: write"));
  EXPECT_THAT(Complaint({.speculative_config = "ngram"}),
              StartsWith("--speculative-config: ngram: it must be a JSON object, such as {"));
  EXPECT_EQ(Complaint({.override_generation_config = R"({"top_p": 2})"}),
            "--override-generation-config: top_p is 2, which it cannot be");
}

TEST(LoadOptions, WhatNeedsAnotherOptionSaysWhich) {
  EXPECT_THAT(Complaint({.swap_space = "0", .preemption_mode = PreemptionMode::kSwap}),
              HasSubstr("--preemption-mode swap needs --swap-space"));
  EXPECT_THAT(Complaint({.kv_policy = KvPolicyKind::kReserveMax, .preemption_mode = PreemptionMode::kSwap}),
              HasSubstr("--kv-policy paged"));
  EXPECT_THAT(Complaint({.kv_policy = KvPolicyKind::kReserveMax, .shared_prefixes = {"f"}}),
              HasSubstr("--shared-prefix needs prefix caching"));
  EXPECT_THAT(Complaint({.enable_prefix_caching = false, .prefix_cache_dir = "d"}),
              HasSubstr("--prefix-cache-dir needs prefix caching"));
}

}  // namespace
}  // namespace quire
