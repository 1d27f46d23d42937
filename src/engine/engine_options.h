// What an engine is told when it is made.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kv/prefix_digest.h"
#include "sched/drafter.h"
#include "sched/scheduler_config.h"

namespace quire {

struct EngineOptions {
  SchedulerConfig scheduler;
  std::vector<PrefixDigest> on_disk;  // what the prefix cache on disk holds, the least recently used first
  std::shared_ptr<Drafter> drafter;   // whose guesses are verified, scheduler.max_drafts at a time; null: none
  int32_t vocab_size = 0;
  std::vector<int32_t> eos_token_ids;
  // Beyond either: kResourceExhausted. Tokens are those of prompts that have not started; a prompt that is longer than
  // the limit is taken when no other waits. 0: no limit.
  size_t max_queued_requests = 4096;
  uint64_t max_queued_tokens = 0;
  std::optional<uint64_t> seed;  // of those of requests that have none; absent: they are random
  std::string trace_path;        // --trace FILE: plans and results, for replay
};

}  // namespace quire
