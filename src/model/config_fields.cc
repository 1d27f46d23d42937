#include "model/config_fields.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/env.h"
#include "base/error.h"
#include "base/foreign_file.h"
#include "base/strict_json.h"

namespace quire {

using nlohmann::json;

struct ConfigFields::Shared {
  std::string path;
  json root;
  std::optional<Error> error;
  std::vector<std::string> warnings;
};

namespace {

// Whether writing the value, which the library does by recursion, goes no deeper than a reader would look.
bool IsShallow(const json& value, int levels = 8) {
  if (!value.is_structured()) return true;
  return levels > 0 &&
         std::all_of(value.begin(), value.end(), [&](const json& element) { return IsShallow(element, levels - 1); });
}

// The value as the file has it, shortened for a message.
std::string Shown(const json& value) {
  if (!IsShallow(value)) return fmt::format("deeply nested {}s", value.type_name());
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

}  // namespace

ConfigFields::ConfigFields(std::shared_ptr<Shared> shared, const json* object, std::string prefix)
    : shared_(std::move(shared)), object_(object), prefix_(std::move(prefix)) {}

Result<ConfigFields> ConfigFields::Read(const std::string& path) {
  if (!Env::Posix().Exists(path)) {
    const std::string link = DanglingLink(path);
    return NotFound("{}{}{}", path, link.empty() ? " does not exist" : ": ", link);
  }
  QUIRE_ASSIGN_OR_RETURN(const std::string text, Env::Posix().ReadFile(path));
  auto shared = std::make_shared<Shared>();
  shared->path = path;
  try {
    shared->root = json::parse(text, nullptr, false);
    if (shared->root.is_discarded()) shared->root = json::parse(StrictJson(text));
  } catch (const json::exception& e) {
    const std::string other = WhatElseItIs(text);
    return InvalidArgument("{}: {}", path, other.empty() ? fmt::format("not valid JSON: {}", e.what()) : other);
  }
  if (!shared->root.is_object()) {
    return InvalidArgument("{}: expected a JSON object, found {}", path, shared->root.type_name());
  }
  const json* root = &shared->root;
  return ConfigFields(std::move(shared), root, "");
}

const std::string& ConfigFields::path() const { return shared_->path; }

Status ConfigFields::status() const {
  if (shared_->error) return *shared_->error;
  return {};
}

const std::vector<std::string>& ConfigFields::warnings() const { return shared_->warnings; }

ConfigFields ConfigFields::Lenient() const {
  ConfigFields fields = *this;
  fields.lenient_ = true;
  return fields;
}

void ConfigFields::Fail(const char* name, const std::string& problem) {
  if (lenient_) {
    shared_->warnings.push_back(fmt::format("{}: ignored: {}{} {}", shared_->path, prefix_, name, problem));
    return;
  }
  if (!shared_->error) shared_->error = InvalidArgument("{}: {}{} {}", shared_->path, prefix_, name, problem);
}

void ConfigFields::Require(const char* name) {
  if (!Has(name)) Fail(name, "is missing");
}

const json* ConfigFields::Find(const char* name) const {
  if (object_ == nullptr) return nullptr;
  const auto it = object_->find(name);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

bool ConfigFields::Has(const char* name) const { return Find(name) != nullptr; }

bool ConfigFields::IsNull(const char* name) const {
  if (object_ == nullptr) return false;
  const auto it = object_->find(name);
  return it != object_->end() && it->is_null();
}

std::optional<int32_t> ConfigFields::CheckedInt(const char* name, const json& value, int64_t min, int64_t max) {
  if (!value.is_number()) {
    Fail(name, fmt::format("is {}: must be an integer", Shown(value)));
    return std::nullopt;
  }
  // Some writers make 50.0 of 50. Numbers beyond 64 bits arrive as floats, too, and are as far out of range.
  const auto exact = value.get<double>();
  const bool fits = exact == std::floor(exact) && std::abs(exact) <= INT32_MAX;
  const int64_t number = fits ? static_cast<int64_t>(exact) : 0;
  if (!fits || number < min || number > max) {
    Fail(name, fmt::format("is {}: must be an integer from {} to {}", Shown(value), min, max));
    return std::nullopt;
  }
  return static_cast<int32_t>(number);
}

std::optional<int32_t> ConfigFields::OptionalInt(const char* name, int64_t min, int64_t max) {
  const json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  return CheckedInt(name, *value, min, max);
}

int32_t ConfigFields::Int(const char* name, int32_t fallback, int64_t min, int64_t max) {
  return OptionalInt(name, min, max).value_or(fallback);
}

std::optional<float> ConfigFields::OptionalFloat(const char* name, double min, double max) {
  const json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) {
    Fail(name, fmt::format("is {}: must be a number", Shown(*value)));
    return std::nullopt;
  }
  const auto number = value->get<double>();
  if (!(number >= min && number <= max)) {
    Fail(name, fmt::format("is {}: must be from {} to {}", Shown(*value), min, max));
    return std::nullopt;
  }
  return static_cast<float>(number);
}

float ConfigFields::Float(const char* name, float fallback, double min, double max) {
  return OptionalFloat(name, min, max).value_or(fallback);
}

bool ConfigFields::Bool(const char* name, bool fallback) {
  const json* value = Find(name);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) {
    Fail(name, fmt::format("is {}: must be true or false", Shown(*value)));
    return fallback;
  }
  return value->get<bool>();
}

std::string ConfigFields::String(const char* name, const std::string& fallback) {
  const json* value = Find(name);
  if (value == nullptr) return fallback;
  if (!value->is_string()) {
    Fail(name, fmt::format("is {}: must be a string", Shown(*value)));
    return fallback;
  }
  return value->get<std::string>();
}

std::vector<int32_t> ConfigFields::IntOrList(const char* name, int64_t min, int64_t max) {
  std::vector<int32_t> numbers;
  const json* value = Find(name);
  if (value == nullptr) return numbers;
  const auto append = [&](const json& item) {
    if (const auto number = CheckedInt(name, item, min, max)) numbers.push_back(*number);
  };
  if (value->is_array()) {
    for (const json& item : *value) append(item);
  } else {
    append(*value);
  }
  return numbers;
}

std::vector<std::string> ConfigFields::Strings(const char* name) {
  std::vector<std::string> strings;
  const json* value = Find(name);
  if (value == nullptr) return strings;
  if (!value->is_array()) Fail(name, fmt::format("is {}: must be a list of strings", Shown(*value)));
  for (const json& item : *value) {
    if (item.is_string()) {
      strings.push_back(item.get<std::string>());
    } else {
      Fail(name, fmt::format("holds {}: must be a list of strings", Shown(item)));
    }
  }
  return strings;
}

ConfigFields ConfigFields::Object(const char* name) {
  const json* value = Find(name);
  if (value != nullptr && !value->is_object()) {
    Fail(name, fmt::format("is {}: must be an object", Shown(*value)));
    value = nullptr;
  }
  ConfigFields fields(shared_, value, fmt::format("{}{}.", prefix_, name));
  fields.lenient_ = lenient_;
  return fields;
}

}  // namespace quire
