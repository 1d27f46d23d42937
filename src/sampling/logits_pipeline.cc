#include "sampling/logits_pipeline.h"

#include <algorithm>
#include <limits>

namespace quire {
namespace {

constexpr float kMaxLogit = std::numeric_limits<float>::max();

// -inf (a token that the model or a mask excludes) stays.
float KeepFinite(float before, float after) {
  return before < -kMaxLogit ? before : std::clamp(after, -kMaxLogit, kMaxLogit);
}

float Penalized(float logit, const SamplingParams& params, const TokenCounts::Entry& entry) {
  const float repetition = params.repetition_penalty;
  float result = logit > 0 ? logit / repetition : logit * repetition;
  result -= params.frequency_penalty * static_cast<float>(entry.output_count);
  result -= params.presence_penalty * (entry.output_count > 0 ? 1.0F : 0.0F);
  return KeepFinite(logit, result);
}

// Accepted drafts count as output, too.
void ApplyPenalties(const SampleRequest& request, std::span<float> logits) {
  const std::span<const int32_t> drafts = request.accepted_drafts;
  const auto apply = [&](TokenCounts::Entry entry) {
    entry.output_count += static_cast<int32_t>(std::ranges::count(drafts, entry.token));
    float& logit = logits[static_cast<size_t>(entry.token)];
    logit = Penalized(logit, *request.params, entry);
  };
  for (const TokenCounts::Entry& entry : request.counts->entries()) apply(entry);
  for (size_t i = 0; i < drafts.size(); ++i) {
    const bool is_new = std::ranges::count(drafts.first(i), drafts[i]) == 0;
    if (is_new && !request.counts->Contains(drafts[i])) apply({.token = drafts[i]});
  }
}

void ApplyAllowedMask(std::span<const uint32_t> mask, std::span<float> logits) {
  for (size_t i = 0; i < logits.size(); ++i) {
    const bool allowed = i / 32 < mask.size() && (mask[i / 32] >> (i % 32) & 1U) != 0;
    if (!allowed) logits[i] = -std::numeric_limits<float>::infinity();
  }
}

}  // namespace

bool UsesPenalties(const SamplingParams& params) {
  return params.repetition_penalty != 1.0F || params.presence_penalty != 0.0F || params.frequency_penalty != 0.0F;
}

bool LeavesLogitsAlone(const SampleRequest& request) {
  const bool penalized = request.counts != nullptr && UsesPenalties(*request.params);
  return request.params->logit_bias.empty() && !penalized && request.masked_tokens.empty() &&
         request.allowed_mask.empty();
}

void ProcessLogits(const SampleRequest& request, std::span<float> logits) {
  const SamplingParams& params = *request.params;
  for (const auto& [token, bias] : params.logit_bias) {
    float& logit = logits[static_cast<size_t>(token)];
    logit = KeepFinite(logit, logit + bias);
  }
  if (request.counts != nullptr && UsesPenalties(params)) ApplyPenalties(request, logits);
  for (const int32_t token : request.masked_tokens) {
    logits[static_cast<size_t>(token)] = -std::numeric_limits<float>::infinity();
  }
  if (!request.allowed_mask.empty()) ApplyAllowedMask(request.allowed_mask, logits);
}

}  // namespace quire
