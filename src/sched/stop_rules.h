// When a sequence ends, as far as token ids tell: EOS, stop tokens, lengths. Stop strings are the engine's.
#pragma once

#include <cstdint>
#include <vector>

#include "sched/request.h"

namespace quire {

struct StopDecision {
  FinishReason reason = FinishReason::kNone;
  int32_t stop_token = -1;  // the member of stop_token_ids that ended it; -1 for EOS and lengths
  friend bool operator==(const StopDecision&, const StopDecision&) = default;
};

struct StopState {
  int32_t token = 0;        // the newest
  uint32_t num_output = 0;  // with it
  uint32_t num_total = 0;   // prompt and output
  uint32_t max_model_len = 0;
};

StopDecision CheckStop(const Request& request, const StopState& state);

// What a sampler masks before min_tokens, by id: EOS, also when it is ignored, and the request's own. Nothing where
// min_tokens is 0.
std::vector<int32_t> MaskedStopTokens(const Request& request);

// The longest prompt and output together.
uint32_t MaxTotalTokens(const Request& request, uint32_t max_model_len);

}  // namespace quire
