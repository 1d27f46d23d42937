#include "llm/generation_overrides.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

Error BadField(const std::string& name, const Json& value) {
  return InvalidArgument("{} is {}, which it cannot be", name,
                         value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

Status ReadNumber(const std::string& name, const Json& value, double least, double most, std::optional<float>& to) {
  if (!value.is_number() || value.get<double>() < least || value.get<double>() > most) return BadField(name, value);
  to = value.get<float>();
  return {};
}

Status ReadCount(const std::string& name, const Json& value, int64_t least, std::optional<int32_t>& to) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  if (!value.is_number_integer() || value.get<int64_t>() < least || value.get<int64_t>() > kMost) {
    return BadField(name, value);
  }
  to = value.get<int32_t>();
  return {};
}

Status ReadField(const std::string& name, const Json& value, GenerationOverrides& overrides) {
  if (value.is_null()) return {};
  if (name == "temperature") return ReadNumber(name, value, 0, 1e6, overrides.temperature);
  if (name == "top_p") return ReadNumber(name, value, 1e-9, 1, overrides.top_p);
  if (name == "min_p") return ReadNumber(name, value, 0, 1, overrides.min_p);
  if (name == "repetition_penalty") return ReadNumber(name, value, 1e-6, 1e6, overrides.repetition_penalty);
  if (name == "top_k") return ReadCount(name, value, -1, overrides.top_k);
  if (name == "max_new_tokens") return ReadCount(name, value, 1, overrides.max_new_tokens);
  return InvalidArgument("{} is not known: use temperature, top_p, top_k, min_p, repetition_penalty or max_new_tokens",
                         name);
}

}  // namespace

Result<GenerationOverrides> ParseGenerationOverrides(const std::string& json) {
  GenerationOverrides overrides;
  if (json.empty()) return overrides;
  const Json object = Json::parse(json, nullptr, false);
  if (!object.is_object()) {
    return InvalidArgument("{}: it must be a JSON object, such as {{\"temperature\": 0.5}}", json);
  }
  for (const auto& [name, value] : object.items()) QUIRE_RETURN_IF_ERROR(ReadField(name, value, overrides));
  return overrides;
}

void Override(const GenerationOverrides& overrides, ModelConfig& config) {
  if (overrides.temperature) config.default_temperature = overrides.temperature;
  if (overrides.top_p) config.default_top_p = overrides.top_p;
  if (overrides.min_p) config.default_min_p = overrides.min_p;
  if (overrides.repetition_penalty) config.default_repetition_penalty = overrides.repetition_penalty;
  if (overrides.top_k) config.default_top_k = overrides.top_k;
  if (overrides.max_new_tokens) config.default_max_tokens = overrides.max_new_tokens;
}

}  // namespace quire
