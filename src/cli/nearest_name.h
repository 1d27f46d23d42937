// "Did you mean": the name that was probably meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quire {

// The candidate with the fewest edits to the name, or that begins with it; empty if none is like it.
std::string NearestName(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace quire
