// The tokenizer of a Hugging Face directory as the keys of a GGUF file, tokenizer.ggml.*. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quire/result.h"
#include "text/tokenizer.h"
#include "weights/gguf_writer.h"

namespace quire {

struct VocabularyUse {
  int32_t vocab_size = 0;              // of the model; ids beyond the tokenizer's are unused
  std::vector<int32_t> end_token_ids;  // of an answer, as the config says; the tokenizer's own end goes before them
};

// `tokenizer`: of the directory. kUnimplemented: the format has no words for it.
Status AddTokenizerPairs(const std::string& directory, const Tokenizer& tokenizer, const VocabularyUse& use,
                         GgufPairs& pairs);

}  // namespace quire
