#include "quire/sampling_params.h"

#include <cmath>

#include "base/error.h"

namespace quire {
namespace {

Status CheckRange(const char* field, double value, double low, double high) {
  if (value >= low && value <= high) return {};
  return InvalidField(field, "is {}: it must be from {} to {}", value, low, high);
}

Status CheckTokenId(const char* field, int32_t id, int32_t vocab_size) {
  if (id >= 0 && id < vocab_size) return {};
  return InvalidField(field, "holds token id {}: it must be from 0 to {}", id, vocab_size - 1);
}

Status CheckCount(const char* field, size_t count, size_t limit) {
  if (count <= limit) return {};
  return InvalidField(field, "has {} entries: at most {} are allowed", count, limit);
}

Status CheckStops(const SamplingParams& params, int32_t vocab_size) {
  QUIRE_RETURN_IF_ERROR(CheckCount("stop", params.stop.size(), kMaxStopStrings));
  size_t num_bytes = 0;
  for (const std::string& stop : params.stop) {
    if (stop.empty()) return InvalidField("stop", "holds an empty string: leave it out");
    num_bytes += stop.size();
  }
  if (num_bytes > kMaxStopBytes) {
    return InvalidField("stop", "has {} bytes in all its strings: at most {} are allowed", num_bytes, kMaxStopBytes);
  }
  QUIRE_RETURN_IF_ERROR(CheckCount("stop_token_ids", params.stop_token_ids.size(), kMaxStopTokenIds));
  for (const int32_t id : params.stop_token_ids) {
    QUIRE_RETURN_IF_ERROR(CheckTokenId("stop_token_ids", id, vocab_size));
  }
  return {};
}

Status CheckLogprobs(const char* field, const std::optional<int32_t>& count) {
  if (!count || (*count >= 0 && *count <= kMaxLogprobs)) return {};
  return InvalidField(field, "is {}: it must be from 0 to {}", *count, kMaxLogprobs);
}

Status CheckNeutral(const char* field, double value, double neutral) {
  if (value == neutral) return {};
  return InvalidField(field, "is {}: beam search ranks what the model says itself; leave it out", value);
}

// Beams are scored by the model's own log-probabilities.
Status CheckBeamSearch(const SamplingParams& params) {
  const int32_t width = params.num_streams();
  const char* width_field = params.streams_field();
  if (width < params.n) {
    return InvalidField(width_field,
                        "is {}: beam search gives n answers, which is {}, and takes at least as many beams", width,
                        params.n);
  }
  if (width > kMaxBeamWidth) {
    return InvalidField(width_field, "is {}: a beam search may have at most {} beams", width, kMaxBeamWidth);
  }
  if (!std::isfinite(params.length_penalty)) {
    return InvalidField("length_penalty", "is {}: it must be a finite number", params.length_penalty);
  }
  if (params.temperature != 0) QUIRE_RETURN_IF_ERROR(CheckNeutral("temperature", params.temperature, 1));
  QUIRE_RETURN_IF_ERROR(CheckNeutral("top_p", params.top_p, 1));
  if (params.top_k != -1) QUIRE_RETURN_IF_ERROR(CheckNeutral("top_k", params.top_k, 0));
  QUIRE_RETURN_IF_ERROR(CheckNeutral("min_p", params.min_p, 0));
  QUIRE_RETURN_IF_ERROR(CheckNeutral("repetition_penalty", params.repetition_penalty, 1));
  QUIRE_RETURN_IF_ERROR(CheckNeutral("presence_penalty", params.presence_penalty, 0));
  QUIRE_RETURN_IF_ERROR(CheckNeutral("frequency_penalty", params.frequency_penalty, 0));
  if (params.logit_bias.empty()) return {};
  return InvalidField("logit_bias", "has {} entries: beam search ranks what the model says itself; leave it out",
                      params.logit_bias.size());
}

Status CheckStreams(const SamplingParams& params) {
  QUIRE_RETURN_IF_ERROR(CheckRange("n", params.n, 1, kMaxStreams));
  if (params.best_of && (*params.best_of < params.n || *params.best_of > kMaxStreams)) {
    return InvalidField("best_of", "is {}: it must be from n, which is {}, to {}", *params.best_of, params.n,
                        kMaxStreams);
  }
  if (params.use_beam_search) return CheckBeamSearch(params);
  if (params.beam_width) return InvalidField("beam_width", "is only allowed with use_beam_search");
  if (params.length_penalty != 1) return InvalidField("length_penalty", "is only allowed with use_beam_search");
  if (params.early_stopping != EarlyStopping::kHeuristic) {
    return InvalidField("early_stopping", "is only allowed with use_beam_search");
  }
  if (params.best_of.value_or(params.n) > params.n && params.temperature == 0) {
    return InvalidField("best_of",
                        "is {}, more than n, which is {}: with temperature 0 all samples are the same; leave it out",
                        *params.best_of, params.n);
  }
  return {};
}

}  // namespace

Status ValidateSamplingParams(const SamplingParams& params, int32_t vocab_size) {
  QUIRE_RETURN_IF_ERROR(CheckRange("temperature", params.temperature, 0, 100));
  if (!(params.top_p > 0 && params.top_p <= 1)) {
    return InvalidField("top_p", "is {}: it must be above 0 and at most 1", params.top_p);
  }
  if (params.top_k < -1) return InvalidField("top_k", "is {}: it must be -1 or 0 (all), or positive", params.top_k);
  QUIRE_RETURN_IF_ERROR(CheckRange("min_p", params.min_p, 0, 1));
  if (!(params.repetition_penalty > 0 && std::isfinite(params.repetition_penalty))) {
    return InvalidField("repetition_penalty", "is {}: it must be a number above 0", params.repetition_penalty);
  }
  QUIRE_RETURN_IF_ERROR(CheckRange("presence_penalty", params.presence_penalty, -2, 2));
  QUIRE_RETURN_IF_ERROR(CheckRange("frequency_penalty", params.frequency_penalty, -2, 2));
  QUIRE_RETURN_IF_ERROR(CheckCount("logit_bias", params.logit_bias.size(), kMaxLogitBiases));
  for (const auto& [id, bias] : params.logit_bias) {
    QUIRE_RETURN_IF_ERROR(CheckTokenId("logit_bias", id, vocab_size));
    if (!(bias >= -100 && bias <= 100)) {
      return InvalidField("logit_bias", "holds {}: each must be from -100 to 100", bias);
    }
  }
  if (params.max_tokens && *params.max_tokens < 1) {
    return InvalidField("max_tokens", "is {}: it must be at least 1", *params.max_tokens);
  }
  if (params.min_tokens < 0) return InvalidField("min_tokens", "is {}: it must not be negative", params.min_tokens);
  if (params.max_tokens && params.min_tokens > *params.max_tokens) {
    return InvalidField("min_tokens", "is {}, more than max_tokens, {}", params.min_tokens, *params.max_tokens);
  }
  QUIRE_RETURN_IF_ERROR(CheckStops(params, vocab_size));
  QUIRE_RETURN_IF_ERROR(CheckStreams(params));
  QUIRE_RETURN_IF_ERROR(CheckLogprobs("logprobs", params.logprobs));
  return CheckLogprobs("prompt_logprobs", params.prompt_logprobs);
}

}  // namespace quire
