// A parsed, tokenized request for completions or chat: what is submitted to the engine and how the answer looks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "quire/sampling_params.h"
#include "server/api_error.h"

namespace quire::server {

struct ModelContext;
struct ServerCounters;
class FieldReader;

struct Prompt {
  std::vector<int32_t> ids;
  std::string text;  // for echo: what came, or what the ids say if they are not all that came
};

struct GenerationRequest {
  bool chat = false;
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
  bool echo = false;
  bool drop_output = false;  // echo with max_tokens 0: nothing but the prompt, scored
  bool return_token_ids = false;
  bool tokens_as_token_ids = false;  // log-probabilities name tokens "token_id:7"

  // Choices of the answer are numbered prompt by prompt.
  size_t num_choices_per_prompt() const { return static_cast<size_t>(params.n); }
  size_t num_choices() const { return prompts.size() * num_choices_per_prompt(); }
  const Prompt& PromptOf(size_t choice) const { return prompts[choice / num_choices_per_prompt()]; }
};

using ParsedRequest = std::variant<GenerationRequest, ApiError>;

// Each counts the fields that it does not know, of requests that it refuses, too.
ParsedRequest ParseCompletionRequest(const ModelContext& context, std::string_view body, ServerCounters& counters);
ParsedRequest ParseChatRequest(const ModelContext& context, std::string_view body, ServerCounters& counters);

// How a prompt becomes ids.
struct TokenizeOptions {
  bool add_special_tokens = true;
  std::optional<size_t> keep;  // a longer prompt loses the rest; absent: a text that cannot fit is an error
  bool keeps_end = true;       // it loses its beginning
};

// The text that a conversation becomes: reads messages and whatever its template is to know, tools included.
std::string ReadChatPrompt(const ModelContext& context, FieldReader& fields);
// An error names `field`.
std::vector<int32_t> Tokenize(const ModelContext& context, std::string_view text, const TokenizeOptions& options,
                              std::string_view field, FieldReader& fields);
// "chatcmpl-" or "cmpl-" with what a client calls its request. False: it cannot be a part of an id.
bool SetRequestId(std::string_view name, GenerationRequest& request);
// Fails with model_not_found unless the named model, if any, is served.
void ReadModel(const ModelContext& context, FieldReader& fields, std::string& model);

}  // namespace quire::server
