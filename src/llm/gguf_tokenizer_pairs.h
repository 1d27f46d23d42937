// The tokenizer of a Hugging Face directory as the keys of a GGUF file, tokenizer.ggml.*. Pure; any thread.
#pragma once

#include <string>

#include "quire/result.h"
#include "text/tokenizer.h"
#include "weights/gguf_writer.h"

namespace quire {

// `tokenizer`: of the directory. `vocab_size`: of the model; ids beyond the tokenizer's are unused. kUnimplemented: the
// format has no words for it.
Status AddTokenizerPairs(const std::string& directory, const Tokenizer& tokenizer, int32_t vocab_size,
                         GgufPairs& pairs);

}  // namespace quire
