// What the client asked: immutable once submitted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "quire/sampling_params.h"
#include "sched/ids.h"

namespace quire {

struct Request {
  RequestId id = {};
  std::vector<int32_t> prompt;
  SamplingParams params;  // seed and max_tokens are set by the engine before the scheduler sees it
  std::vector<int32_t> eos_token_ids;
  TimeUs arrival = 0;
  int32_t priority = 0;     // lower is sooner; used by the priority policy
  std::string cache_salt;   // prefix-cache hits only within the same salt
  uint64_t adapter_id = 0;  // 0: none
  bool reads_prefix_cache = true;
  bool writes_prefix_cache = true;
  bool pins_prompt = false;  // once it has finished, the prompt's full blocks stay, shared by whoever starts with them
  std::string client_key;    // whose fair share it counts against
  std::string external_id;   // for logs: "cmpl-…"
};

enum class FinishReason : uint8_t { kNone, kStop, kLength, kAbort, kError };
inline constexpr size_t kNumFinishReasons = 5;

// "stop", "length", "abort", "error".
const char* FinishReasonName(FinishReason reason);

}  // namespace quire
