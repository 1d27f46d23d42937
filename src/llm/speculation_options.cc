#include "llm/speculation_options.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "sched/ngram_drafter.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kOption = "--speculative-config";
constexpr const char* kExample =
    R"({"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4, "prompt_lookup_min": 2})";

std::string Shown(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

Result<uint32_t> ReadCount(const std::string& name, const Json& value, int64_t most) {
  if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > most) {
    return InvalidArgument("{}: {} is {}: it must be a whole number from 1 to {}", kOption, name, Shown(value), most);
  }
  return value.get<uint32_t>();
}

Status CheckMethod(const Json& object) {
  const Json method = object.value("method", object.value("model", Json()));
  if (method == "ngram" || method == "[ngram]") return {};
  if (method.is_null()) return InvalidArgument("{}: it lacks a method; such as {}", kOption, kExample);
  return InvalidArgument("{}: the method or model {} is not supported, only ngram; such as {}", kOption, Shown(method),
                         kExample);
}

}  // namespace

Result<SpeculationOptions> ParseSpeculationOptions(const std::string& json) {
  SpeculationOptions options;
  if (json.empty()) return options;
  const Json object = Json::parse(json, nullptr, false);
  if (!object.is_object()) {
    return InvalidArgument("{} {}: it must be a JSON object, such as {}", kOption, json, kExample);
  }
  QUIRE_RETURN_IF_ERROR(CheckMethod(object));
  constexpr int64_t kMaxLookup = 1024;
  std::optional<uint32_t> least, most;
  for (const auto& [name, value] : object.items()) {
    if (value.is_null() || name == "method" || name == "model") continue;
    if (name == "num_speculative_tokens") {
      QUIRE_ASSIGN_OR_RETURN(options.num_tokens, ReadCount(name, value, kMaxDrafts));
    } else if (name == "prompt_lookup_min") {
      QUIRE_ASSIGN_OR_RETURN(least, ReadCount(name, value, kMaxLookup));
    } else if (name == "prompt_lookup_max") {
      QUIRE_ASSIGN_OR_RETURN(most, ReadCount(name, value, kMaxLookup));
    } else {
      return InvalidArgument(
          "{}: {} is not known: use method, num_speculative_tokens, prompt_lookup_max and prompt_lookup_min", kOption,
          name);
    }
  }
  if (options.num_tokens == 0)
    return InvalidArgument("{}: it lacks num_speculative_tokens; such as {}", kOption, kExample);
  constexpr uint32_t kUnstated = 5;  // of both; one that is stated stands for the other
  options.ngram.min_tokens = least.value_or(most.value_or(kUnstated));
  options.ngram.max_tokens = most.value_or(least.value_or(kUnstated));
  if (options.ngram.min_tokens > options.ngram.max_tokens) {
    return InvalidArgument("{}: prompt_lookup_min is {}, above prompt_lookup_max, which is {}", kOption,
                           options.ngram.min_tokens, options.ngram.max_tokens);
  }
  return options;
}

std::shared_ptr<Drafter> MakeDrafter(const SpeculationOptions& options) {
  if (options.num_tokens == 0) return nullptr;
  return std::make_shared<NgramDrafter>(options.ngram);
}

}  // namespace quire
