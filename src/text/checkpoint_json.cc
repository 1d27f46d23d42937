#include "text/checkpoint_json.h"

#include <fstream>
#include <iterator>
#include <vector>

#include "base/error.h"
#include "base/foreign_file.h"
#include "base/strict_json.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;
constexpr uintmax_t kMaxFileBytes = uintmax_t{64} << 20;
// The library compares each key of an ordered object with all keys before it, and looks through what holds an object
// when that ends: a fraction of a second's worth.
constexpr uint64_t kMaxVisits = uint64_t{1} << 28;

// What the parser keeps of a checkpoint's file: all but the members of its table of tokens by id, which may be tens of
// thousands and are read elsewhere.
class CheckpointFilter {
 public:
  bool has_excess() const { return num_visits_ > kMaxVisits; }

  // `depth`: of open arrays and objects around it.
  bool Keeps(int depth, Json::parse_event_t event, const Json& value) {
    using Event = Json::parse_event_t;
    const auto level = static_cast<size_t>(depth);
    if (event == Event::key && depth == 1) in_table_ = value == "added_tokens_decoder";
    if (in_table_ && depth > 1) return false;
    if (event == Event::object_start || event == Event::key) num_visits_ += NumChildren(level);
    if (event == Event::object_start || event == Event::array_start) NumChildren(level + 1) = 0;
    if (event == Event::object_start || event == Event::array_start || event == Event::value) ++NumChildren(level);
    return !has_excess();
  }

 private:
  uint64_t& NumChildren(size_t level) {
    if (level >= num_children_.size()) num_children_.resize(level + 1);
    return num_children_[level];
  }

  std::vector<uint64_t> num_children_;  // of the innermost open array or object of each depth
  uint64_t num_visits_ = 0;
  bool in_table_ = false;
};

// Discarded if it is not JSON.
Result<Json> ParseFiltered(const std::filesystem::path& path, const std::string& text) {
  CheckpointFilter filter;
  Json json = Json::parse(
      text, [&](int depth, Json::parse_event_t event, Json& value) { return filter.Keeps(depth, event, value); },
      false);
  if (filter.has_excess()) {
    return InvalidArgument(
        "{}: it has too many members to be read: objects and lists of some ten thousand each are possible",
        path.string());
  }
  return json;
}

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
  QUIRE_ASSIGN_OR_RETURN(Json json, ParseFiltered(path, *text));
  if (json.is_discarded()) {
    QUIRE_ASSIGN_OR_RETURN(json, ParseFiltered(path, StrictJson(*text)));
  }
  if (!json.is_object()) return DataLoss("{} is not a JSON object", path.string());
  return json;
}

}  // namespace quire
