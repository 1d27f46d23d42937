// What the tests of sampling share.
#pragma once

#include <limits>

namespace quire {

// The logit, negated, of a token that is forbidden.
inline constexpr float kInf = std::numeric_limits<float>::infinity();

}  // namespace quire
