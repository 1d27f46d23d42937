// How a request's prompt becomes token ids: texts, ids, conversations, and what is cut off of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quire::server {

class FieldReader;
struct ModelContext;

struct Prompt {
  std::vector<int32_t> ids;
  std::string text;  // for echo: what came, or what the ids say if they are not all that came
};

struct TokenizeOptions {
  bool add_special_tokens = true;
  std::optional<size_t> keep;  // a longer prompt loses the rest; absent: a text that cannot fit is an error
  bool keeps_end = true;       // it loses its beginning
};

// add_special_tokens, whose default is given; truncate_prompt_tokens: how many the client wants at most (-1: as many as
// the model takes); and truncation_side, from which the others go.
TokenizeOptions ReadTokenizeOptions(const ModelContext& context, bool add_special_tokens, FieldReader& fields);

// The field `prompt`: a string, a list of token ids, or a list of such.
std::vector<Prompt> ReadPrompts(const ModelContext& context, const TokenizeOptions& options, FieldReader& fields);

// The prompt that a conversation becomes: reads messages and whatever its template is to know, tools included.
Prompt ReadChatPrompt(const ModelContext& context, const TokenizeOptions& options, FieldReader& fields);
// Its text alone.
std::string ReadChatText(const ModelContext& context, FieldReader& fields);

// An error names `field`.
std::vector<int32_t> Tokenize(const ModelContext& context, std::string_view text, const TokenizeOptions& options,
                              std::string_view field, FieldReader& fields);

}  // namespace quire::server
