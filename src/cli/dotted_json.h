// JSON given by its keys: `--option.a.b VALUE` is `--option '{"a": {"b": VALUE}}'`, as vLLM has it.
#pragma once

#include <string>

#include "quire/result.h"

namespace quire {

// The JSON object `before` with the value at "a.b"; a path that ends with + takes a list separated by commas. The value
// is JSON, a number with a suffix (1k), or a string.
Result<std::string> MergeDotted(const std::string& before, const std::string& path, const std::string& value);

}  // namespace quire
