#include "server/api/sampling_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "server/api/foreign_fields.h"
#include "server/api/generation_request.h"
#include "server/api/json_fields.h"

namespace quire::server {
namespace {

using nlohmann::ordered_json;

void ReadStreamOptions(FieldReader& fields, GenerationRequest& request) {
  const ordered_json* options = fields.Find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) return fields.Fail("stream_options", "stream_options must be an object");
  if (!request.stream) return fields.Fail("stream_options", "stream_options is only allowed with stream");
  FieldReader inner(*options);
  inner.Read("include_usage", request.include_usage);
  inner.Read("continuous_usage_stats", request.continuous_usage);
  inner.Ignore({"include_obfuscation"});
  if (inner.failed()) fields.Fail(*inner.error());
  fields.AddUnknown("stream_options", inner);
}

// Transformers' names: true, false or "never".
void ReadEarlyStopping(FieldReader& fields, SamplingParams& params) {
  const ordered_json* value = fields.Find("early_stopping");
  if (value == nullptr) return;
  if (value->is_boolean()) {
    params.early_stopping = value->get<bool>() ? EarlyStopping::kAlways : EarlyStopping::kHeuristic;
  } else if (IsText(*value, "never")) {
    params.early_stopping = EarlyStopping::kNever;
  } else {
    fields.Fail("early_stopping", "early_stopping must be true, false or \"never\"");
  }
}

// Their order means nothing, and each is looked at once per token.
void ReadStopTokenIds(FieldReader& fields, std::vector<int32_t>& ids) {
  fields.Read("stop_token_ids", ids);
  std::ranges::sort(ids);
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

// Beam search starts from neutral parameters: what is not neutral then, the request has asked for itself.
void ReadStreams(FieldReader& fields, SamplingParams& params) {
  fields.Read("use_beam_search", params.use_beam_search);
  if (params.use_beam_search) params = {.max_tokens = params.max_tokens, .use_beam_search = true};
  fields.Read("n", params.n);
  fields.Read("best_of", params.best_of);
  fields.Read("beam_width", params.beam_width);
  fields.Read("length_penalty", params.length_penalty);
  ReadEarlyStopping(fields, params);
}

// llama.cpp's penalty covers the latest tokens; here it covers prompt and output.
void ReadRepetitionPenalty(FieldReader& fields, SamplingParams& params) {
  const std::string_view name = NameInUse(fields, {"repetition_penalty", "repeat_penalty", "rep_pen"});
  fields.Read(name, params.repetition_penalty);
  std::optional<int32_t> window;
  fields.Read("repeat_last_n", window);
  if (!window || fields.failed() || params.repetition_penalty == 1) return;
  if (*window == 0) params.repetition_penalty = 1;
  if (*window <= 0) return;
  fields.Fail({.message = fmt::format("repeat_last_n is {}: the repetition penalty covers the whole of prompt and "
                                      "output here; send -1, or leave it out",
                                      *window),
               .param = "repeat_last_n",
               .code = "unsupported_parameter"});
}

// vLLM's and llama.cpp's names for keeping out of the prefix cache.
void ReadCacheFields(FieldReader& fields, GenerationRequest& request) {
  bool skip_reading = false, cache_prompt = true;
  fields.Read("cache_salt", request.cache_salt);
  fields.Read("skip_reading_prefix_cache", skip_reading);
  fields.Read("cache_prompt", cache_prompt);
  request.reads_prefix_cache = cache_prompt && !skip_reading;
  request.writes_prefix_cache = cache_prompt;
}

void RefuseResponseFormat(FieldReader& fields) {
  const ordered_json* format = fields.Find("response_format");
  if (format == nullptr) return;
  const bool typed = format->is_object() && format->contains("type") && format->at("type").is_string();
  if (!typed) {
    return fields.Fail("response_format", "response_format must be an object with a type");
  }
  if (IsText(format->at("type"), "text")) return;
  fields.Unsupported("response_format", "structured output");
}

}  // namespace

void ReadSamplingParams(FieldReader& fields, SamplingParams& params) {
  ReadStreams(fields, params);
  fields.Read("temperature", params.temperature);
  fields.Read("top_p", params.top_p);
  fields.Read("top_k", params.top_k);
  fields.Read("min_p", params.min_p);
  ReadRepetitionPenalty(fields, params);
  fields.Read("presence_penalty", params.presence_penalty);
  fields.Read("frequency_penalty", params.frequency_penalty);
  fields.ReadBias("logit_bias", params.logit_bias);
  fields.Read("seed", params.seed);
  if (params.seed == std::numeric_limits<uint64_t>::max()) params.seed.reset();  // -1: any
  fields.Read(NameInUse(fields, {"min_tokens", "min_new_tokens"}), params.min_tokens);
  fields.Read("stop", params.stop);
  fields.Read("include_stop_str_in_output", params.include_stop_str_in_output);
  ReadStopTokenIds(fields, params.stop_token_ids);
  fields.Read("ignore_eos", params.ignore_eos);
  fields.Read("skip_special_tokens", params.skip_special_tokens);
  fields.Read("detokenize", params.detokenize);
  fields.Read("prompt_logprobs", params.prompt_logprobs);
}

void ReadAnswerFields(FieldReader& fields, GenerationRequest& request) {
  fields.Read("stream", request.stream);
  ReadStreamOptions(fields, request);
  fields.Read("return_token_ids", request.return_token_ids);
  fields.Read("return_tokens_as_token_ids", request.tokens_as_token_ids);
  fields.Read("priority", request.priority);
  fields.Read("user", request.client_key);
  ReadCacheFields(fields, request);
  if (request.stream && request.params.prompt_logprobs) {
    fields.Fail("prompt_logprobs", "prompt_logprobs is not available with stream");
  }
  const SamplingParams& params = request.params;
  if (request.stream && !params.use_beam_search && params.best_of.value_or(params.n) > params.n) {
    fields.Fail("best_of", "best_of is more than n: which samples are the best is known at the end; leave stream out");
  }
}

void RefuseUnsupported(FieldReader& fields) {
  fields.Unsupported("functions", "calling functions");
  fields.Unsupported("bad_words", "banning words");
  fields.Unsupported("allowed_token_ids", "restricting tokens");
  fields.Unsupported("logits_processors", "logits processors");
  fields.Unsupported("structured_outputs", "structured output");
  fields.Unsupported("guided_json", "structured output");
  fields.Unsupported("guided_regex", "structured output");
  fields.Unsupported("guided_choice", "structured output");
  fields.Unsupported("guided_grammar", "structured output");
  RefuseForeignFields(fields);
  RefuseResponseFormat(fields);
  fields.Ignore({"spaces_between_special_tokens", "metadata", "store", "service_tier", "safety_identifier",
                 "prompt_cache_key", "parallel_tool_calls"});
}

}  // namespace quire::server
