// What OpenAI's requests for text have in common, parsed and tokenized: what the engine is asked for and how the answer
// looks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quire/sampling_params.h"
#include "server/api/api_error.h"
#include "server/api/prompt_fields.h"

namespace quire::server {

class FieldReader;
struct ModelContext;
struct ServerCounters;

inline constexpr size_t kMaxChoices = 2048;  // of one answer

struct GenerationRequest {
  std::string id;       // "cmpl-…", "chatcmpl-…"
  int64_t created = 0;  // seconds since 1970
  std::string model;    // as the answer names it
  std::vector<Prompt> prompts;
  SamplingParams params;
  bool max_tokens_given = false;  // else params.max_tokens is clamped to what the context leaves
  int32_t priority = 0;
  std::string cache_salt;
  bool reads_prefix_cache = true;
  bool writes_prefix_cache = true;
  std::string client_key;  // the API key, or the field `user`

  bool stream = false;
  bool include_usage = false;     // of a stream: a last chunk with it
  bool continuous_usage = false;  // and in every chunk
  bool drop_output = false;       // nothing but the prompt, scored
  bool return_token_ids = false;
  bool tokens_as_token_ids = false;  // log-probabilities name tokens "token_id:7"

  // Choices of the answer are numbered prompt by prompt.
  size_t num_choices_per_prompt() const { return static_cast<size_t>(params.n); }
  size_t num_choices() const { return prompts.size() * num_choices_per_prompt(); }
  const Prompt& PromptOf(size_t choice) const { return prompts[choice / num_choices_per_prompt()]; }
};

// A request that says nothing, whose id begins with `id_prefix`.
GenerationRequest NewRequest(const ModelContext& context, std::string_view id_prefix);
// `id_prefix` with what a client calls its request. False: it cannot be a part of an id.
bool SetRequestId(std::string_view id_prefix, std::string_view name, GenerationRequest& request);

// model, and request_id under all its names.
void ReadIdentity(const ModelContext& context, std::string_view id_prefix, FieldReader& fields,
                  GenerationRequest& request);
// Fails with model_not_found unless the named model, if any, is served.
void ReadModel(const ModelContext& context, FieldReader& fields, std::string& model);
// Of several names of the limit the first that the request has, and `more`, which counts more if it is not empty.
void ReadMaxTokens(FieldReader& fields, std::string_view more, GenerationRequest& request);
// After the prompts and n.
void CheckNumChoices(FieldReader& fields, const GenerationRequest& request);
// After all fields that are known have been looked for: counts those that are not, of requests that are refused, too.
// What is wrong with the request, if anything.
std::optional<ApiError> Finish(const ModelContext& context, const FieldReader& fields, const SamplingParams& params,
                               ServerCounters& counters);

}  // namespace quire::server
