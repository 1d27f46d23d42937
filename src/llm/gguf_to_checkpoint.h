// A GGUF file as a Hugging Face directory: config.json, generation_config.json, tokenizer.json, tokenizer_config.json
// with the chat template, model.safetensors.
#pragma once

#include <string>
#include <string_view>

#include "base/function_ref.h"
#include "llm/conversion.h"
#include "quire/result.h"

namespace quire {

// `from`, a file or the first part of a split one, to the new directory `to`. `show` is told after every tensor. Errors
// name the file and what is wrong; then `to` is not there.
Status GgufToCheckpoint(const std::string& from, const std::string& to, const ConvertOptions& options,
                        FunctionRef<void(std::string_view tensor)> show);

}  // namespace quire
