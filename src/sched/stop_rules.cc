#include "sched/stop_rules.h"

#include <algorithm>

namespace quire {
namespace {

bool Contains(const std::vector<int32_t>& ids, int32_t id) { return std::ranges::find(ids, id) != ids.end(); }

StopDecision CheckStopTokens(const Request& request, int32_t token) {
  if (!request.params.ignore_eos && Contains(request.eos_token_ids, token)) return {FinishReason::kStop, -1};
  if (Contains(request.params.stop_token_ids, token)) return {FinishReason::kStop, token};
  return {};
}

}  // namespace

StopDecision CheckStop(const Request& request, const StopState& state) {
  const SamplingParams& params = request.params;
  if (static_cast<int64_t>(state.num_output) >= params.min_tokens) {
    const StopDecision decision = CheckStopTokens(request, state.token);
    if (decision.reason != FinishReason::kNone) return decision;
  }
  if (state.num_total >= MaxTotalTokens(request, state.max_model_len)) return {FinishReason::kLength, -1};
  return {};
}

std::vector<int32_t> MaskedStopTokens(const Request& request) {
  if (request.params.min_tokens <= 0) return {};
  std::vector<int32_t> ids = request.eos_token_ids;
  ids.insert(ids.end(), request.params.stop_token_ids.begin(), request.params.stop_token_ids.end());
  std::ranges::sort(ids);
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

uint32_t MaxTotalTokens(const Request& request, uint32_t max_model_len) {
  if (!request.params.max_tokens) return max_model_len;
  const uint64_t total = request.prompt.size() + static_cast<uint64_t>(std::max(*request.params.max_tokens, 1));
  return static_cast<uint32_t>(std::min<uint64_t>(total, max_model_len));
}

}  // namespace quire
