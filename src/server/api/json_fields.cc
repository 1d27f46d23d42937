#include "server/api/json_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/json_limits.h"

namespace quire::server {
namespace {

using nlohmann::ordered_json;

// "[json.exception.parse_error.101] parse error at line 1, column 5: ..." without the brackets, cut to a line.
std::string Readable(std::string_view what) {
  constexpr size_t kMaxLength = 300;
  if (const size_t end = what.find("] "); what.starts_with('[') && end != std::string_view::npos) {
    what.remove_prefix(end + 2);
  }
  return std::string(what.substr(0, kMaxLength));
}

bool AsksForNothing(const ordered_json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) ||
         ((value.is_array() || value.is_object()) && value.empty()) ||
         (value.is_string() && value.get_ref<const std::string&>().empty());
}

}  // namespace

std::optional<ApiError> ParseJsonObject(std::string_view body, ordered_json& object) {
  if (std::string excess = JsonLimits().FindExcess("the body's JSON", body); !excess.empty()) {
    return ApiError{.message = std::move(excess)};
  }
  try {
    object = ordered_json::parse(body);
  } catch (const ordered_json::exception& exception) {
    return ApiError{.message = "the body is not valid JSON: " + Readable(exception.what()), .code = "invalid_json"};
  }
  if (object.is_object()) return std::nullopt;
  return ApiError{.message = fmt::format("the body must be a JSON object, not {}", object.type_name())};
}

std::string Shorten(std::string_view text) {
  constexpr size_t kMaxLength = 60;
  if (text.size() <= kMaxLength) return std::string(text);
  size_t length = kMaxLength;
  while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;  // whole characters
  return fmt::format("{}…", text.substr(0, length));
}

std::string Quote(const ordered_json& value) {
  return Shorten(value.dump(-1, ' ', true, ordered_json::error_handler_t::replace));
}

bool IsText(const ordered_json& value, std::string_view text) {
  return value.is_string() && value.get_ref<const std::string&>() == text;
}

std::optional<int64_t> ToInteger(const ordered_json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double number = value.get<double>();
  constexpr double kExact = 9007199254740992;  // 2^53
  if (!(std::abs(number) <= kExact) || number != std::floor(number)) return std::nullopt;
  return static_cast<int64_t>(number);
}

const ordered_json* FieldReader::Find(std::string_view name) {
  if (std::ranges::find(known_, name) == known_.end()) known_.push_back(name);
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void FieldReader::Fail(ApiError error) {
  if (!error_) error_ = std::move(error);
}

void FieldReader::Fail(std::string_view name, std::string message) {
  Fail({.message = std::move(message), .param = std::string(name)});
}

void FieldReader::FailType(std::string_view name, const ordered_json& value, std::string_view expected) {
  Fail(name, fmt::format("{} is {}: it must be {}", name, Quote(value), expected));
}

void FieldReader::Read(std::string_view name, bool& value) {
  const ordered_json* field = Find(name);
  if (field == nullptr) return;
  if (!field->is_boolean()) return FailType(name, *field, "true or false");
  value = field->get<bool>();
}

void FieldReader::Read(std::string_view name, int32_t& value) {
  const ordered_json* field = Find(name);
  if (field == nullptr) return;
  const std::optional<int64_t> number = ToInteger(*field);
  if (!number || *number < std::numeric_limits<int32_t>::min() || *number > std::numeric_limits<int32_t>::max()) {
    return FailType(name, *field, "an integer of 32 bits");
  }
  value = static_cast<int32_t>(*number);
}

void FieldReader::Read(std::string_view name, float& value) {
  const ordered_json* field = Find(name);
  if (field == nullptr) return;
  if (!field->is_number()) return FailType(name, *field, "a number");
  value = field->get<float>();
}

void FieldReader::Read(std::string_view name, std::string& value) {
  const ordered_json* field = Find(name);
  if (field == nullptr) return;
  if (!field->is_string()) return FailType(name, *field, "a string");
  value = field->get<std::string>();
}

void FieldReader::Read(std::string_view name, std::vector<std::string>& value) {
  const ordered_json* field = Find(name);
  if (field == nullptr) return;
  value.clear();
  if (field->is_string()) {
    value.push_back(field->get<std::string>());
    return;
  }
  if (!field->is_array()) return FailType(name, *field, "a string or a list of strings");
  for (const ordered_json& item : *field) {
    if (!item.is_string()) return FailType(name, *field, "a string or a list of strings");
    value.push_back(item.get<std::string>());
  }
}

void FieldReader::Read(std::string_view name, std::vector<int32_t>& value) {
  const ordered_json* field = Find(name);
  if (field == nullptr) return;
  if (!field->is_array()) return FailType(name, *field, "a list of integers");
  value.clear();
  value.reserve(field->size());
  for (const ordered_json& item : *field) {
    const std::optional<int64_t> number = ToInteger(item);
    if (!number || *number < std::numeric_limits<int32_t>::min() || *number > std::numeric_limits<int32_t>::max()) {
      return FailType(name, item, "a list of integers of 32 bits");
    }
    value.push_back(static_cast<int32_t>(*number));
  }
}

void FieldReader::Read(std::string_view name, std::optional<uint64_t>& value) {
  const ordered_json* field = Find(name);
  if (field == nullptr) return;
  if (field->is_number_unsigned()) {
    value = field->get<uint64_t>();
    return;
  }
  const std::optional<int64_t> number = ToInteger(*field);
  if (!number) return FailType(name, *field, "an integer of 64 bits");
  value = static_cast<uint64_t>(*number);
}

void FieldReader::ReadBias(std::string_view name, std::vector<std::pair<int32_t, float>>& value) {
  const ordered_json* field = Find(name);
  if (field == nullptr) return;
  if (!field->is_object()) return FailType(name, *field, "an object from token ids to numbers");
  value.clear();
  for (const auto& [key, bias] : field->items()) {
    int32_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size()) return FailType(name, key, "keyed by token ids");
    if (key != fmt::format("{}", id)) return FailType(name, key, fmt::format("keyed by token ids, like \"{}\"", id));
    if (!bias.is_number()) return FailType(name, bias, "an object from token ids to numbers");
    value.emplace_back(id, bias.get<float>());
  }
}

void FieldReader::CheckRange(std::string_view name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return;
  Fail(name, fmt::format("{} is {}: it must be from {} to {}", name, value, low, high));
}

void FieldReader::Ignore(std::initializer_list<std::string_view> names) {
  known_.insert(known_.end(), names.begin(), names.end());
}

void FieldReader::Unsupported(std::string_view name, std::string_view what) {
  const ordered_json* field = Find(name);
  if (field == nullptr || AsksForNothing(*field)) return;
  Fail({.message = fmt::format("{} ({}) is not supported by this server", what, name),
        .param = std::string(name),
        .code = "unsupported_parameter"});
}

std::vector<std::string> FieldReader::Unknown() const {
  std::vector<std::string> unknown = unknown_inside_;
  for (const auto& [key, value] : object_.items()) {
    if (std::ranges::find(known_, key) == known_.end()) unknown.push_back(key);
  }
  return unknown;
}

void FieldReader::AddUnknown(std::string_view name, const FieldReader& inner) {
  for (const std::string& field : inner.Unknown()) unknown_inside_.push_back(fmt::format("{}.{}", name, field));
}

}  // namespace quire::server
