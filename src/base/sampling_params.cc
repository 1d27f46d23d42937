#include "quire/sampling_params.h"

#include <cmath>

#include "base/error.h"

namespace quire {
namespace {

Status CheckRange(const char* field, double value, double low, double high) {
  if (value >= low && value <= high) return {};
  return InvalidArgument("{} is {}: it must be from {} to {}", field, value, low, high);
}

Status CheckTokenId(const char* field, int32_t id, int32_t vocab_size) {
  if (id >= 0 && id < vocab_size) return {};
  return InvalidArgument("{} holds token id {}: it must be from 0 to {}", field, id, vocab_size - 1);
}

Status CheckLogprobs(const char* field, const std::optional<int32_t>& count) {
  if (!count || (*count >= 0 && *count <= kMaxLogprobs)) return {};
  return InvalidArgument("{} is {}: it must be from 0 to {}", field, *count, kMaxLogprobs);
}

}  // namespace

Status ValidateSamplingParams(const SamplingParams& params, int32_t vocab_size) {
  QUIRE_RETURN_IF_ERROR(CheckRange("temperature", params.temperature, 0, 100));
  if (!(params.top_p > 0 && params.top_p <= 1)) {
    return InvalidArgument("top_p is {}: it must be above 0 and at most 1", params.top_p);
  }
  if (params.top_k < -1) return InvalidArgument("top_k is {}: it must be -1 or 0 (all), or positive", params.top_k);
  QUIRE_RETURN_IF_ERROR(CheckRange("min_p", params.min_p, 0, 1));
  if (!(params.repetition_penalty > 0 && std::isfinite(params.repetition_penalty))) {
    return InvalidArgument("repetition_penalty is {}: it must be a number above 0", params.repetition_penalty);
  }
  QUIRE_RETURN_IF_ERROR(CheckRange("presence_penalty", params.presence_penalty, -2, 2));
  QUIRE_RETURN_IF_ERROR(CheckRange("frequency_penalty", params.frequency_penalty, -2, 2));
  for (const auto& [id, bias] : params.logit_bias) {
    QUIRE_RETURN_IF_ERROR(CheckTokenId("logit_bias", id, vocab_size));
    QUIRE_RETURN_IF_ERROR(CheckRange("a logit_bias", bias, -100, 100));
  }
  if (params.max_tokens && *params.max_tokens < 1) {
    return InvalidArgument("max_tokens is {}: it must be at least 1", *params.max_tokens);
  }
  if (params.min_tokens < 0) return InvalidArgument("min_tokens is {}: it must not be negative", params.min_tokens);
  if (params.max_tokens && params.min_tokens > *params.max_tokens) {
    return InvalidArgument("min_tokens is {}, more than max_tokens, {}", params.min_tokens, *params.max_tokens);
  }
  for (const std::string& stop : params.stop) {
    if (stop.empty()) return InvalidArgument("stop holds an empty string: leave it out");
  }
  for (const int32_t id : params.stop_token_ids) {
    QUIRE_RETURN_IF_ERROR(CheckTokenId("stop_token_ids", id, vocab_size));
  }
  QUIRE_RETURN_IF_ERROR(CheckLogprobs("logprobs", params.logprobs));
  return CheckLogprobs("prompt_logprobs", params.prompt_logprobs);
}

}  // namespace quire
