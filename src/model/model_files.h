// What a path to a model holds: a directory in the Hugging Face layout, or GGUF.
#pragma once

#include <string>

#include "quire/result.h"

namespace quire {

// The directory; or the GGUF file (any part, if it is split) that the path is, or that is the only one of a directory
// without safetensors. Any other file is an error.
Result<std::string> FindModelFiles(const std::string& path);

// Of a path that FindModelFiles has given.
bool IsGgufModel(const std::string& path);

}  // namespace quire
