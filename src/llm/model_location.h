// Where the model is that an option names: a path, or a name on the hub, which may mean a download.
#pragma once

#include <string>

#include "quire/result.h"

namespace quire {

// A directory in the Hugging Face layout, or a GGUF file. What is downloaded is shown on standard error. `revision`: of
// a hub name that states none; "main": the usual one. It says nothing of a path.
Result<std::string> LocateModel(const std::string& path_or_name, const std::string& revision = "main");

}  // namespace quire
