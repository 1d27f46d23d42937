// tokenizer.json and tokenizer_config.json of a vocabulary in a GGUF file: what Hugging Face's tools read in the place
// of it. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "quire/result.h"
#include "text/gguf_vocabulary.h"

namespace quire {

// REQUIRES: Tokenizer::FromGguf takes the vocabulary. A tokenizer that is loaded from the text encodes and decodes as
// that one does.
Result<std::string> GgufTokenizerJson(const GgufVocabulary& vocabulary);

// `chat_template` may be empty; `max_length`: of the model.
std::string GgufTokenizerConfigJson(const GgufVocabulary& vocabulary, const std::string& chat_template,
                                    int64_t max_length);

}  // namespace quire
