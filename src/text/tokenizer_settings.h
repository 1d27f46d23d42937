// What the files beside tokenizer.json say of it: tokenizer_config.json, special_tokens_map.json, added_tokens.json,
// and the family that config.json names. Merged as AutoTokenizer of Transformers 5 does it for a directory that has a
// tokenizer.json; where that refuses a file for its form alone (a token written as an object), the token is taken.
// Plain data; any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/tokenizer.h"

namespace quire::text {

// What add_prefix_space means: only the classes that build their own pre-tokenizer heed it.
enum class PrefixSpaceRule : uint8_t {
  kFile,       // tokenizer.json stands
  kByteLevel,  // every ByteLevel pre-tokenizer's flag
  kMetaspace,  // SentencePiece-style: the pre-tokenizer and the decoder of LlamaTokenizer take the file's place
};

struct TokenizerSettings {
  std::vector<AddedToken> tokens;   // follow tokenizer.json's own; one that is there gets these flags
  std::vector<AddedToken> special;  // follow those; one that is there keeps its flags, but becomes special
  std::vector<NamedToken> names;    // what chat templates know of them
  std::optional<std::string> eos_token;
  bool split_special_tokens = false;  // special tokens in a text are cut into pieces like other text
  // As stated; the rule is the class's, stated or not. Unstated, the text between added tokens is cut as the file says,
  // for kMetaspace, too: there each part gets its space, as in SentencePiece and Transformers 4; not so in 5.
  std::optional<bool> add_prefix_space;
  PrefixSpaceRule prefix_space_rule = PrefixSpaceRule::kFile;
  bool legacy = false;  // kMetaspace: the space goes before each part between added tokens, not before the first alone
};

// `padding_token`: what tokenizer.json pads with; empty: it does not. Files that are absent count as empty. Errors name
// the file and the field.
Result<TokenizerSettings> ReadTokenizerSettings(const std::string& directory, const std::string& padding_token);

}  // namespace quire::text
