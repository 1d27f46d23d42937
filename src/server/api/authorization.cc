#include "server/api/authorization.h"

#include <cstddef>

#include "server/http/http.h"

namespace quire::server {
namespace {

bool EqualsInConstantTime(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    const char other = b.empty() ? '\0' : b[i % b.size()];
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(other);
  }
  return difference == 0;
}

}  // namespace

std::optional<std::string_view> KeyOf(const HttpRequest& head) {
  constexpr std::string_view kScheme = "bearer ";
  const std::string* field = head.Find("Authorization");
  if (field == nullptr || field->size() < kScheme.size()) return std::nullopt;
  const std::string_view value = *field;
  if (!EqualsIgnoringCase(value.substr(0, kScheme.size()), kScheme)) return std::nullopt;
  return value.substr(kScheme.size());
}

bool IsOneOf(std::span<const std::string> keys, std::optional<std::string_view> given) {
  bool known = false;
  for (const std::string& key : keys) known |= given && EqualsInConstantTime(*given, key);
  return known;
}

}  // namespace quire::server
