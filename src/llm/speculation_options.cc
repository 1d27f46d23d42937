#include "llm/speculation_options.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "sched/drafter.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExample =
    R"({"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4, "prompt_lookup_min": 2})";

std::string Shown(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

Result<uint32_t> ReadCount(const std::string& name, const Json& value, int64_t most) {
  if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > most) {
    return InvalidArgument("{} is {}: it must be a whole number from 1 to {}", name, Shown(value), most);
  }
  return value.get<uint32_t>();
}

bool IsNgram(const Json& name) { return name == "ngram" || name == "[ngram]"; }

// The method decides; where it is not stated, what the model is.
Status ReadMethod(const Json& object, SpeculationOptions& options) {
  const Json method = object.value("method", Json()), model = object.value("model", Json());
  if (IsNgram(method) || (method.is_null() && IsNgram(model))) return {};
  if (method.is_null() && model.is_null()) {
    return InvalidArgument("it lacks a method or a model; such as {}", kExample);
  }
  if (!method.is_null() && method != "draft_model") {
    return InvalidArgument("the method {} is not supported, only ngram and draft_model; such as {}", Shown(method),
                           kExample);
  }
  if (!model.is_string() || model.get<std::string>().empty()) {
    return InvalidArgument("model is {}: it must be a directory or a name on the hub", Shown(model));
  }
  options.model = model.get<std::string>();
  return {};
}

}  // namespace

Result<SpeculationOptions> ParseSpeculationOptions(const std::string& json) {
  SpeculationOptions options;
  if (json.empty()) return options;
  const Json object = Json::parse(json, nullptr, false);
  if (!object.is_object()) {
    return InvalidArgument("{}: it must be a JSON object, such as {}", json, kExample);
  }
  QUIRE_RETURN_IF_ERROR(ReadMethod(object, options));
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
    } else if (name == "adaptive" && value.is_boolean()) {
      options.adaptive = value.get<bool>();
    } else if (name != "draft_tensor_parallel_size" || value != 1) {
      return InvalidArgument(
          "{} {} is not supported: use method, model, num_speculative_tokens, prompt_lookup_max, "
          "prompt_lookup_min and adaptive",
          name, Shown(value));
    }
  }
  if (options.num_tokens == 0) return InvalidArgument("it lacks num_speculative_tokens; such as {}", kExample);
  constexpr uint32_t kUnstated = 5;  // of both; one that is stated stands for the other
  options.ngram.min_tokens = least.value_or(most.value_or(kUnstated));
  options.ngram.max_tokens = most.value_or(least.value_or(kUnstated));
  if (options.ngram.min_tokens > options.ngram.max_tokens) {
    return InvalidArgument("prompt_lookup_min is {}, above prompt_lookup_max, which is {}", options.ngram.min_tokens,
                           options.ngram.max_tokens);
  }
  return options;
}

}  // namespace quire
