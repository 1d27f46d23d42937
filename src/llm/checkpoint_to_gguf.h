// A Hugging Face directory as a GGUF file, with the keys and the order of rows that llama.cpp expects.
#pragma once

#include <string>
#include <string_view>

#include "base/function_ref.h"
#include "llm/conversion.h"
#include "quire/result.h"

namespace quire {

// `from`, a directory, to the new file `to`. Vectors become float32, as the format's programs want them. `show` is told
// after every tensor. Errors name the file and what is wrong; then `to` is not there.
Status CheckpointToGguf(const std::string& from, const std::string& to, const ConvertOptions& options,
                        FunctionRef<void(std::string_view tensor)> show);

}  // namespace quire
