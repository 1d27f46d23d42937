// Splits a template's source into tokens by Jinja's rules, with trim_blocks and lstrip_blocks on and the trailing
// newline dropped, as Transformers sets its environment up. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "quire/result.h"

namespace quire::jinja {

enum class TokenKind : uint8_t {
  kData,  // text between the tags, white-space control applied
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kInteger,
  kFloat,
  kString,    // unescaped
  kOperator,  // and punctuation
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  int line = 1;
  std::string text;
  int64_t integer = 0;
  double number = 0;
};

// Ends with one kEnd token. InvalidArgument names the line.
Result<std::vector<Token>> Tokenize(std::string_view source);

}  // namespace quire::jinja
