// The "post_processor" of tokenizer.json, as far as it adds tokens: templates such as "<s> A </s>". Immutable: any
// thread.
#pragma once

#include <cstdint>
#include <vector>

#include "text/json_node.h"

namespace quire::text {

// Ids around, and kSequence for, what has been encoded.
using TokenTemplate = std::vector<int32_t>;
inline constexpr int32_t kSequence = -1;

// The templates of `node`, to be applied one after the other. kUnimplemented names a type that is not offered.
Result<std::vector<TokenTemplate>> ParsePostProcessors(const JsonNode& node);

std::vector<int32_t> ApplyTemplate(const TokenTemplate& tokens, const std::vector<int32_t>& ids);

}  // namespace quire::text
