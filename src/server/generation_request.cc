#include "server/generation_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <utility>

#include "base/error.h"
#include "engine/engine.h"
#include "server/foreign_fields.h"
#include "server/json_fields.h"
#include "server/model_context.h"
#include "server/sampling_fields.h"
#include "server/unix_time.h"
#include "text/tokenizer.h"

namespace quire::server {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxChoices = 2048;
constexpr int32_t kDefaultCompletionTokens = 16;
constexpr size_t kMaxRequestId = 256;

std::string NewName() {
  thread_local std::mt19937_64 engine(std::random_device{}());
  return fmt::format("{:016x}{:016x}", engine(), engine());
}

void ReadIds(FieldReader& fields, const ordered_json& list, std::vector<int32_t>& ids) {
  for (const ordered_json& item : list) {
    const std::optional<int64_t> id = ToInteger(item);
    if (!id || *id < 0 || *id > INT32_MAX) {
      return fields.Fail("prompt", fmt::format("prompt holds {}: token ids are integers from 0", Quote(item)));
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
}

// Reads add_special_tokens, whose default is given, truncate_prompt_tokens: how many the client wants at most; -1: as
// many as the model takes; and truncation_side, from which the others go.
TokenizeOptions ReadTokenizeOptions(const ModelContext& context, bool add_special_tokens, FieldReader& fields) {
  TokenizeOptions options{.add_special_tokens = add_special_tokens};
  fields.Read("add_special_tokens", options.add_special_tokens);
  std::optional<int32_t> limit;
  fields.Read("truncate_prompt_tokens", limit);
  std::string side = "left";
  fields.Read("truncation_side", side);
  if (side != "left" && side != "right") {
    fields.Fail("truncation_side", fmt::format("truncation_side is {}: it must be left or right", Shorten(side)));
  }
  options.keeps_end = side == "left";
  if (!limit) return options;
  fields.CheckRange("truncate_prompt_tokens", *limit, -1, context.model.max_model_len);
  if (*limit == 0) fields.Fail("truncate_prompt_tokens", "truncate_prompt_tokens is 0: it must be -1 or positive");
  options.keep = static_cast<size_t>(std::max(1, *limit == -1 ? context.model.max_model_len - 1 : *limit));
  return options;
}

// Whether there was more than is kept.
bool Truncate(const TokenizeOptions& options, std::vector<int32_t>& ids) {
  if (!options.keep || ids.size() <= *options.keep) return false;
  const auto surplus = static_cast<ptrdiff_t>(ids.size() - *options.keep);
  options.keeps_end ? ids.erase(ids.begin(), ids.begin() + surplus) : ids.erase(ids.end() - surplus, ids.end());
  return true;
}

// One prompt: a string or a list of token ids.
void ReadPrompt(const ModelContext& context, const ordered_json& value, const TokenizeOptions& options,
                FieldReader& fields, std::vector<Prompt>& prompts) {
  Prompt prompt;
  bool must_decode = false;
  if (value.is_string()) {
    prompt.text = value.get<std::string>();
    prompt.ids = Tokenize(context, prompt.text, options, "prompt", fields);
    must_decode = Truncate(options, prompt.ids);
  } else if (value.is_array() && !value.empty() && value.front().is_number()) {
    ReadIds(fields, value, prompt.ids);
    Truncate(options, prompt.ids);
    must_decode = true;
  } else {
    return fields.Fail("prompt",
                       "prompt must be a string, a list of strings, a list of token ids, or a list of such lists");
  }
  if (must_decode) prompt.text = context.model.tokenizer->Decode(prompt.ids, true);
  prompts.push_back(std::move(prompt));
}

void ReadPrompts(const ModelContext& context, const TokenizeOptions& options, FieldReader& fields,
                 std::vector<Prompt>& prompts) {
  const ordered_json* value = fields.Find("prompt");
  if (fields.failed()) return;
  if (value == nullptr) return fields.Fail("prompt", "prompt is missing");
  const bool is_list = value->is_array() && !value->empty() && !value->front().is_number();
  if (!is_list) return ReadPrompt(context, *value, options, fields, prompts);
  if (value->size() > kMaxChoices) {
    return fields.Fail(
        "prompt", fmt::format("prompt holds {} prompts: at most {} are served at once", value->size(), kMaxChoices));
  }
  for (const ordered_json& item : *value) {
    if (!fields.failed()) ReadPrompt(context, item, options, fields, prompts);
  }
}

// legacy completions: an integer; with echo the prompt is scored too.
void ReadCompletionLogprobs(FieldReader& fields, GenerationRequest& request) {
  fields.Read("logprobs", request.params.logprobs);
  if (request.echo && request.params.logprobs && !request.params.prompt_logprobs) {
    request.params.prompt_logprobs = request.params.logprobs;
  }
}

void ReadChatLogprobs(FieldReader& fields, SamplingParams& params) {
  bool logprobs = false;
  std::optional<int32_t> top_logprobs;
  fields.Read("logprobs", logprobs);
  fields.Read("top_logprobs", top_logprobs);
  if (top_logprobs) fields.CheckRange("top_logprobs", *top_logprobs, 0, kMaxLogprobs);
  if (top_logprobs.value_or(0) > 0 && !logprobs) {
    fields.Fail("top_logprobs", "top_logprobs is only allowed when logprobs is true");
  }
  if (logprobs) params.logprobs = top_logprobs.value_or(0);
}

void ReadMaxTokens(FieldReader& fields, GenerationRequest& request) {
  std::optional<int32_t> max_tokens;
  const std::string_view name = NameInUse(fields, {"max_tokens", "n_predict", "max_new_tokens"});
  fields.Read(name, max_tokens);
  if (name == "n_predict" && max_tokens.value_or(0) < 0) return request.params.max_tokens.reset();  // no limit
  if (request.chat) fields.Read("max_completion_tokens", max_tokens);
  if (!max_tokens) return;
  if (*max_tokens == 0 && request.echo) {
    request.drop_output = true;
    max_tokens = 1;
  }
  request.params.max_tokens = max_tokens;
  request.max_tokens_given = true;
}

void ReadRequestId(FieldReader& fields, GenerationRequest& request) {
  std::string name;
  const std::string_view field = NameInUse(fields, {"request_id", "rid"});
  fields.Read(field, name);
  if (fields.failed() || name.empty() || SetRequestId(name, request)) return;
  fields.Fail(field, fmt::format("{} must have at most {} characters of printable ASCII", field, kMaxRequestId));
}

void CheckNumChoices(FieldReader& fields, const GenerationRequest& request) {
  if (fields.failed()) return;
  fields.CheckRange("n", request.params.n, 1, kMaxStreams);
  if (fields.failed() || request.num_choices() <= kMaxChoices) return;
  fields.Fail("n", fmt::format("{} prompts with n {} make {} choices: at most {} are served at once",
                               request.prompts.size(), request.params.n, request.num_choices(), kMaxChoices));
}

// The template may show the tools; calls are not read out of the answer, so none may be awaited.
void RefuseToolCalls(FieldReader& fields) {
  const ordered_json* tools = fields.Find("tools");
  const ordered_json* choice = fields.Find("tool_choice");
  const bool has_tools = tools != nullptr && !tools->empty();
  if (choice == nullptr ? !has_tools : IsText(*choice, "none") || (IsText(*choice, "auto") && !has_tools)) return;
  fields.Fail({.message = "calling tools is not supported by this server yet: send tool_choice \"none\" to have the "
                          "model see the tools and answer in words, or leave tools and tool_choice out",
               .param = has_tools ? "tools" : "tool_choice",
               .code = "unsupported_parameter"});
}

// After all fields that are known have been looked for.
ParsedRequest Finish(const ModelContext& context, const FieldReader& fields, GenerationRequest request,
                     ServerCounters& counters) {
  counters.unknown_fields.Note(fields.Unknown());
  if (fields.failed()) return *fields.error();
  const Status valid = ValidateSamplingParams(request.params, context.model.engine->options().vocab_size);
  if (!valid.ok()) return ToApiError(valid.error());
  return request;
}

GenerationRequest NewRequest(const ModelContext& context, bool chat) {
  GenerationRequest request;
  request.chat = chat;
  SetRequestId(NewName(), request);
  request.created = SecondsSinceEpoch();
  request.params = context.model.defaults;
  return request;
}

}  // namespace

bool SetRequestId(std::string_view name, GenerationRequest& request) {
  const bool printable = std::ranges::all_of(name, [](char c) { return c > ' ' && c < 0x7F; });
  if (!printable || name.empty() || name.size() > kMaxRequestId) return false;
  request.id = fmt::format("{}-{}", request.chat ? "chatcmpl" : "cmpl", name);
  return true;
}

void ReadModel(const ModelContext& context, FieldReader& fields, std::string& model) {
  fields.Read("model", model);
  if (fields.failed()) return;
  if (!context.Serves(model)) {
    fields.Fail({.status = 404,
                 .message = fmt::format("The model `{}` does not exist. This server has: {}", Shorten(model),
                                        fmt::join(context.names, ", ")),
                 .param = "model",
                 .code = "model_not_found"});
  }
  if (model.empty()) model = context.names.front();
}

std::vector<int32_t> Tokenize(const ModelContext& context, std::string_view text, const TokenizeOptions& options,
                              std::string_view field, FieldReader& fields) {
  if (!options.keep && text.size() > context.max_prompt_bytes) {
    fields.Fail(
        {.message = fmt::format("This model's maximum context length is {} tokens, but the prompt has {} bytes, "
                                "more than so many tokens hold",
                                context.model.max_model_len, text.size()),
         .param = std::string(field),
         .code = "context_length_exceeded"});
    return {};
  }
  Result<std::vector<int32_t>> ids = context.model.tokenizer->Encode(text, options.add_special_tokens);
  if (ids.ok()) return *std::move(ids);
  ApiError error = ToApiError(ids.error());
  error.param = field;
  fields.Fail(std::move(error));
  return {};
}

ParsedRequest ParseCompletionRequest(const ModelContext& context, std::string_view body, ServerCounters& counters) {
  ordered_json object;
  if (std::optional<ApiError> error = ParseJsonObject(body, object)) return *std::move(error);
  FieldReader fields(object);
  GenerationRequest request = NewRequest(context, false);
  ReadModel(context, fields, request.model);
  ReadRequestId(fields, request);
  request.params.max_tokens = kDefaultCompletionTokens;
  fields.Read("echo", request.echo);
  ReadMaxTokens(fields, request);
  ReadSamplingParams(fields, request.params);
  ReadAnswerFields(fields, request);  // before echo asks for the prompt's log-probabilities, which may be streamed
  ReadCompletionLogprobs(fields, request);
  RefuseUnsupported(fields);
  fields.Unsupported("tools", "calling tools");
  fields.Unsupported("suffix", "inserting before a suffix");
  fields.Unsupported("prompt_embeds", "prompts as embeddings");
  ReadPrompts(context, ReadTokenizeOptions(context, true, fields), fields, request.prompts);
  CheckNumChoices(fields, request);
  return Finish(context, fields, std::move(request), counters);
}

ParsedRequest ParseChatRequest(const ModelContext& context, std::string_view body, ServerCounters& counters) {
  ordered_json object;
  if (std::optional<ApiError> error = ParseJsonObject(body, object)) return *std::move(error);
  FieldReader fields(object);
  GenerationRequest request = NewRequest(context, true);
  ReadModel(context, fields, request.model);
  ReadRequestId(fields, request);
  ReadMaxTokens(fields, request);
  ReadSamplingParams(fields, request.params);
  ReadAnswerFields(fields, request);
  ReadChatLogprobs(fields, request.params);
  RefuseUnsupported(fields);
  RefuseToolCalls(fields);
  fields.Unsupported("audio", "audio");
  fields.Unsupported("echo", "echo in chat");
  fields.Unsupported("web_search_options", "web search");
  const ordered_json* modalities = fields.Find("modalities");
  const bool text_only = modalities == nullptr || (modalities->size() == 1 && IsText(modalities->front(), "text"));
  if (!text_only) fields.Unsupported("modalities", "any modality but text");
  fields.Ignore({"prediction", "verbosity"});
  const TokenizeOptions options = ReadTokenizeOptions(context, false, fields);  // the template writes special tokens
  Prompt prompt;
  prompt.text = ReadChatPrompt(context, fields);
  if (!fields.failed()) prompt.ids = Tokenize(context, prompt.text, options, "messages", fields);
  Truncate(options, prompt.ids);
  request.prompts.push_back(std::move(prompt));
  CheckNumChoices(fields, request);
  return Finish(context, fields, std::move(request), counters);
}

}  // namespace quire::server
