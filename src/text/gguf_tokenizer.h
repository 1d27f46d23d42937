// A tokenizer of the vocabulary in a GGUF file: byte-level BPE ("gpt2") and SentencePiece BPE ("llama"), of the parts
// that a tokenizer.json of the same model would name. Pure; any thread.
#pragma once

#include <memory>

#include "quire/result.h"
#include "text/gguf_vocabulary.h"
#include "text/tokenizer.h"

namespace quire::text {

// kUnimplemented: a kind that is not offered; the message lists those that are. Other errors name the key.
Result<std::unique_ptr<Tokenizer>> BuildGgufTokenizer(const GgufVocabulary& vocabulary);

}  // namespace quire::text
