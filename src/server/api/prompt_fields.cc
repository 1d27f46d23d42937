#include "server/api/prompt_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "server/api/generation_request.h"
#include "server/api/json_fields.h"
#include "server/api/model_context.h"
#include "text/tokenizer.h"

namespace quire::server {
namespace {

using nlohmann::ordered_json;

void ReadIds(FieldReader& fields, const ordered_json& list, std::vector<int32_t>& ids) {
  for (const ordered_json& item : list) {
    const std::optional<int64_t> id = ToInteger(item);
    if (!id || *id < 0 || *id > INT32_MAX) {
      return fields.Fail("prompt", fmt::format("prompt holds {}: token ids are integers from 0", Quote(item)));
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
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

}  // namespace

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

std::vector<Prompt> ReadPrompts(const ModelContext& context, const TokenizeOptions& options, FieldReader& fields) {
  std::vector<Prompt> prompts;
  const ordered_json* value = fields.Find("prompt");
  if (fields.failed()) return prompts;
  if (value == nullptr) {
    fields.Fail("prompt", "prompt is missing");
    return prompts;
  }
  const bool is_list = value->is_array() && !value->empty() && !value->front().is_number();
  if (!is_list) {
    ReadPrompt(context, *value, options, fields, prompts);
    return prompts;
  }
  if (value->size() > kMaxChoices) {
    fields.Fail("prompt",
                fmt::format("prompt holds {} prompts: at most {} are served at once", value->size(), kMaxChoices));
  }
  for (const ordered_json& item : *value) {
    if (!fields.failed()) ReadPrompt(context, item, options, fields, prompts);
  }
  return prompts;
}

Prompt ReadChatPrompt(const ModelContext& context, const TokenizeOptions& options, FieldReader& fields) {
  Prompt prompt;
  prompt.text = ReadChatText(context, fields);
  if (!fields.failed()) prompt.ids = Tokenize(context, prompt.text, options, "messages", fields);
  Truncate(options, prompt.ids);
  return prompt;
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

}  // namespace quire::server
