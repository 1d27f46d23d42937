// The only file that sees yaml-cpp.
#include "cli/config_file.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/env.h"
#include "base/error.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

// Of a scalar without quotes, as YAML 1.1 has it.
std::optional<bool> AsSwitch(const YAML::Node& node) {
  if (node.Tag() == "!") return std::nullopt;
  std::string text = node.Scalar();
  std::ranges::transform(text, text.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (text == "true" || text == "yes" || text == "on") return true;
  if (text == "false" || text == "no" || text == "off") return false;
  return std::nullopt;
}

Json ToJson(const YAML::Node& node) {
  if (node.IsMap()) {
    Json object = Json::object();
    for (const auto& entry : node) object[entry.first.Scalar()] = ToJson(entry.second);
    return object;
  }
  if (node.IsSequence()) {
    Json list = Json::array();
    for (const YAML::Node& element : node) list.push_back(ToJson(element));
    return list;
  }
  if (!node.IsScalar()) return nullptr;
  if (const std::optional<bool> is_on = AsSwitch(node)) return *is_on;
  const Json number = node.Tag() == "!" ? Json(Json::value_t::discarded) : Json::parse(node.Scalar(), nullptr, false);
  return number.is_number() ? number : Json(node.Scalar());
}

std::string JsonOf(const YAML::Node& node) { return ToJson(node).dump(-1, ' ', false, Json::error_handler_t::replace); }

void Append(const std::string& key, const YAML::Node& value, std::vector<std::string>& arguments) {
  const std::string name = "--" + key;
  if (value.IsMap()) {
    arguments.push_back(name + "=" + JsonOf(value));
  } else if (value.IsSequence()) {
    if (value.size() == 0) return;
    arguments.push_back(name);
    for (const YAML::Node& element : value) {
      arguments.push_back(element.IsScalar() ? element.Scalar() : JsonOf(element));
    }
  } else if (value.IsScalar()) {
    arguments.push_back(name + "=" + value.Scalar());
  }
}

}  // namespace

Result<std::vector<std::string>> ReadConfigFile(const std::string& path) {
  if (!path.ends_with(".yaml") && !path.ends_with(".yml")) {
    return InvalidArgument("--config {}: the file must be YAML, with a name that ends with .yaml or .yml", path);
  }
  const Result<std::string> text = Env::Posix().ReadFile(path);
  if (!text.ok()) return InvalidArgument("--config {}: {}", path, text.error().message);
  std::vector<std::string> arguments;
  try {
    const YAML::Node root = YAML::Load(*text);
    if (root.IsNull()) return arguments;
    if (!root.IsMap()) return InvalidArgument("--config {}: the file must hold options, as in \"port: 8000\"", path);
    for (const auto& entry : root) Append(entry.first.Scalar(), entry.second, arguments);
  } catch (const YAML::Exception& error) {
    return InvalidArgument("--config {}: {}", path, error.what());
  }
  return arguments;
}

}  // namespace quire
