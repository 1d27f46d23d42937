// --config FILE.yaml: options in a file, by vLLM's rules.
#pragma once

#include <string>
#include <vector>

#include "quire/result.h"

namespace quire {

// The file's keys and values as arguments: `port: 8001` is --port=8001, `fair: false` is --fair=false, a list gives
// several values, a mapping JSON, and nothing (null) is left out. Errors name the file and the line.
Result<std::vector<std::string>> ReadConfigFile(const std::string& path);

}  // namespace quire
