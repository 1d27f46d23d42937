// Names and shapes of tensors as they stand in messages.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace quire {

// A name out of a file as it stands in a message: quoted, control characters escaped, shortened.
std::string PrintableName(std::string_view name);

// "[32, 64]"
std::string ShapeText(std::span<const int64_t> shape);

}  // namespace quire
