// How byte-level BPE cuts a text, by the name that a GGUF file has for it (tokenizer.ggml.pre): the names are
// llama.cpp's, what they mean is what the models' own tokenizers do. Pure; any thread.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "quire/result.h"

namespace quire::text {

struct GgufPreTokenizer {
  std::span<const std::string_view> names;
  // Each cuts the pieces of the one before: its matches, and what is between them. In Oniguruma's dialect.
  std::span<const std::string_view> patterns;
  // The same, of pieces whose bytes are spelled in the byte-level alphabet by then: some bytes look like digits there.
  std::span<const std::string_view> spelled_patterns;
  bool ignore_merges = false;  // a piece that is a token is that token
  bool add_bos = false;        // unless the file says otherwise
  bool composes = false;       // text is brought to NFC first
};

// The name of one that cuts as these patterns do and is like it otherwise; nothing if there is none.
std::optional<std::string_view> NameOfGgufPreTokenizer(std::span<const std::string> patterns, bool ignore_merges,
                                                       bool composes);
// GPT-2's pattern, which tokenizer.json does not write down.
std::string_view Gpt2Pattern();

// Of an empty name: the default one. An error lists the names that are known.
Result<GgufPreTokenizer> FindGgufPreTokenizer(std::string_view name);

}  // namespace quire::text
