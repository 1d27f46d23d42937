// Which tokens of a GGUF file's vocabulary are special, have a role, or end an answer. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "text/added_tokens.h"
#include "text/gguf_vocabulary.h"
#include "text/tokenizer.h"

namespace quire::text {

struct GgufSpecialTokens {
  std::vector<AddedToken> added;  // what is recognised in a text before it is cut
  std::vector<NamedToken> names;  // what chat templates know
  std::optional<int32_t> bos;
  std::optional<int32_t> eos;
  std::optional<int32_t> unknown;
  std::vector<int32_t> ends;  // of an answer: eos, and what ends a turn or a message, by the file or by its name
};

GgufTokenType TypeOf(const GgufVocabulary& vocabulary, size_t id);

// REQUIRES: token_types is empty or as long as tokens at least; tokens are UTF-8.
GgufSpecialTokens FindGgufSpecialTokens(const GgufVocabulary& vocabulary);

}  // namespace quire::text
