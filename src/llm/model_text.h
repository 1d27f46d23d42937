// The text side of a model, wherever its files keep it: tokenizer and chat template of a checkpoint's directory or of a
// GGUF file. Pure; any thread.
#pragma once

#include <memory>
#include <string>

#include "quire/result.h"
#include "text/gguf_vocabulary.h"
#include "text/tokenizer.h"
#include "weights/gguf_metadata.h"

namespace quire {

// `path`: a GGUF file, any part of a split one, or a directory. A directory's tokenizer.json goes before its GGUF file.
Result<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& path);

// As LoadChatTemplateSource for a directory with a template among its files; else the GGUF file's own. NotFound when
// there is no template.
Result<std::string> LoadChatTemplate(const std::string& path, bool with_tools = false);

// Where the tokenizer of a model is, as LoadTokenizer takes it: the model's own directory or GGUF file, or the
// directory beside a GGUF file that has none.
Result<std::string> FindTokenizer(const std::string& model);

// The GGUF file whose tokenizer LoadTokenizer takes: the path itself, or that of a directory without a tokenizer.json.
// Empty: none, tokenizer.json it is.
Result<std::string> FindTokenizerGguf(const std::string& path);

// The views are of the metadata. Errors name the file and the key.
Result<GgufVocabulary> ReadGgufVocabulary(const GgufMetadata& metadata);

}  // namespace quire
