#include "cli/dotted_json.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "llm/value_text.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

Json ParseValue(const std::string& text) {
  Json value = Json::parse(text, nullptr, false);
  if (!value.is_discarded()) return value;
  if (const Result<int64_t> number = ParseWholeNumber(text); number.ok()) return *number;
  return text;
}

Json SplitList(const std::string& text) {
  Json list = Json::array();
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    list.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return list;
}

}  // namespace

Result<std::string> MergeDotted(const std::string& before, const std::string& path, const std::string& value) {
  Json object = Json::parse(before, nullptr, false);
  if (!object.is_object()) return InvalidArgument("{} is no JSON object that could have a key {}", before, path);
  const bool is_list = path.ends_with('+');
  const std::string keys = is_list ? path.substr(0, path.size() - 1) : path;
  Json* place = &object;
  for (size_t begin = 0; begin <= keys.size();) {
    const size_t end = std::min(keys.find('.', begin), keys.size());
    if (!place->is_object()) *place = Json::object();
    place = &(*place)[keys.substr(begin, end - begin)];
    begin = end + 1;
  }
  if (!is_list) {
    *place = ParseValue(value);
  } else {
    if (!place->is_array()) *place = Json::array();
    for (const Json& element : SplitList(value)) place->push_back(element);
  }
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace quire
