// JSON into template values and back as Python's json.dumps writes it. Pure; any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "quire/result.h"
#include "text/jinja_value.h"

namespace quire::jinja {

Result<Value> FromJson(const nlohmann::ordered_json& json);

struct DumpOptions {
  bool ascii = false;
  bool sort_keys = false;
  bool indented = false;
  std::string indent;  // of one level, when indented
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

Result<std::string> ToJson(const Value& value, const DumpOptions& options);

}  // namespace quire::jinja
