#include "text/checkpoint_json.h"

#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/foreign_file.h"
#include "base/strict_json.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;
constexpr uintmax_t kMaxFileBytes = uintmax_t{64} << 20;

}  // namespace

Result<std::optional<std::string>> ReadCheckpointFile(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return std::optional<std::string>();
  if (std::filesystem::file_size(path, error) > kMaxFileBytes) {
    return InvalidArgument("{} is over {} bytes", path.string(), kMaxFileBytes);
  }
  std::ifstream stream(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  if (!stream.good() && !stream.eof()) return Io("cannot read {}", path.string());
  // An LFS pointer in the place of a template would be one that says just that.
  if (const std::string other = WhatElseItIs(text); !other.empty()) return DataLoss("{}: {}", path.string(), other);
  return std::optional<std::string>(std::move(text));
}

Result<Json> ReadCheckpointJson(const std::filesystem::path& path) {
  QUIRE_ASSIGN_OR_RETURN(const auto text, ReadCheckpointFile(path));
  if (!text.has_value()) return Json::object();
  Json json = Json::parse(*text, nullptr, false);
  if (json.is_discarded()) json = Json::parse(StrictJson(*text), nullptr, false);
  if (!json.is_object()) return DataLoss("{} is not a JSON object", path.string());
  return json;
}

}  // namespace quire
