// The values of options as people write them. Errors name the text and what is allowed, in words for people; whoever
// asks names the option.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "quire/result.h"

namespace quire {

inline constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();

// Counts as vLLM reads them: 1k is 1000, 1K is 1024, 25.6k is 25600; k, m, g, t and K, M, G, T. A fraction needs a
// decimal suffix.
Result<int64_t> ParseWholeNumber(std::string_view text);
// The same, of a range.
Result<int64_t> ReadWholeNumber(std::string_view text, int64_t least, int64_t most);

Result<double> ReadNumber(std::string_view text, double least, double most);
// 64 bits without a sign.
Result<uint64_t> ReadSeed(std::string_view text);
// The index of the text among the names.
Result<size_t> ReadName(std::string_view text, std::span<const std::string_view> names);

}  // namespace quire
