// Counts as vLLM reads them: 1k is 1000, 1K is 1024, 25.6k is 25600; k, m, g, t and K, M, G, T.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "quire/result.h"

namespace quire {

// Errors name the text. A fraction needs a decimal suffix.
Result<int64_t> ParseWholeNumber(std::string_view text);

}  // namespace quire
