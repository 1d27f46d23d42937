#include "engine/admission.h"

#include <array>
#include <random>

#include "base/error.h"
#include "base/rng.h"

namespace quire {
namespace {

uint64_t RandomSeed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

Status CheckPrompt(const EngineOptions& options, const std::vector<int32_t>& prompt) {
  if (prompt.empty()) return OfField("prompt", InvalidArgument("the prompt has no tokens: give at least one"));
  for (const int32_t id : prompt) {
    if (id < 0 || id >= options.vocab_size) {
      return OfField("prompt", InvalidArgument("the prompt holds token id {}: it must be from 0 to {}", id,
                                               options.vocab_size - 1));
    }
  }
  const size_t max_len = options.scheduler.max_model_len;
  if (prompt.size() < max_len) return {};
  return TooLong("prompt",
                 "This model's maximum context length is {} tokens, but the prompt has {}: shorten it to at most {}",
                 max_len, prompt.size(), max_len - 1);
}

// Sets max_tokens, if it is absent, to what the context leaves.
Status FitMaxTokens(size_t max_len, size_t num_prompt_tokens, SamplingParams& params) {
  const auto room = static_cast<int32_t>(max_len - num_prompt_tokens);
  if (!params.max_tokens) params.max_tokens = room;
  if (*params.max_tokens > room) {
    return TooLong(
        "max_tokens",
        "This model's maximum context length is {} tokens, but the prompt has {} and max_tokens is {}: at most {} fit",
        max_len, num_prompt_tokens, *params.max_tokens, room);
  }
  if (params.min_tokens <= *params.max_tokens) return {};
  return InvalidField("min_tokens", "is {}, but only {} tokens can follow this prompt", params.min_tokens,
                      *params.max_tokens);
}

}  // namespace

uint64_t NewSeed(const EngineOptions& options, uint64_t request_id) {
  if (!options.seed) return RandomSeed();
  const RngKey key = {.seed = *options.seed,
                      .stream = static_cast<uint32_t>(request_id >> 32),
                      .position = static_cast<uint32_t>(request_id)};
  const std::array<uint32_t, 4> bits = Philox(key, 0);
  return uint64_t{bits[0]} << 32 | bits[1];
}

Status CompleteRequest(const EngineOptions& options, uint32_t num_pinned_blocks, Request& request) {
  QUIRE_RETURN_IF_ERROR(ValidateSamplingParams(request.params, options.vocab_size));
  QUIRE_RETURN_IF_ERROR(CheckPrompt(options, request.prompt));
  if (request.adapter_id != 0) {
    return InvalidField("adapter_id", "is {}: adapters are not served, leave it at 0", request.adapter_id);
  }
  QUIRE_RETURN_IF_ERROR(FitMaxTokens(options.scheduler.max_model_len, request.prompt.size(), request.params));
  request.eos_token_ids = options.eos_token_ids;
  return ProveFits(options.scheduler, request.prompt.size(), request.params, num_pinned_blocks);
}

}  // namespace quire
