// API keys: "Authorization: Bearer KEY".
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace quire::server {

struct HttpRequest;

// The key of a request; points into it.
std::optional<std::string_view> KeyOf(const HttpRequest& head);
// In time that does not depend on where two keys differ.
bool IsOneOf(std::span<const std::string> keys, std::optional<std::string_view> given);

}  // namespace quire::server
