#include "text/jinja_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/jinja_unicode.h"

namespace quire::jinja {
namespace {

using Json = nlohmann::ordered_json;

Result<Value> Convert(const Json& json, uint32_t depth) {
  if (depth > kMaxNesting) return InvalidArgument("JSON is nested more than {} deep", kMaxNesting);
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value(json.get<bool>());
    case Json::value_t::number_integer:
      return Value(json.get<int64_t>());
    case Json::value_t::number_unsigned: {
      const auto number = json.get<uint64_t>();
      if (number > static_cast<uint64_t>(INT64_MAX)) return Value(static_cast<double>(number));
      return Value(static_cast<int64_t>(number));
    }
    case Json::value_t::number_float:
      return Value(json.get<double>());
    case Json::value_t::string:
      return Value(json.get_ref<const std::string&>());
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& child : json) {
        QUIRE_ASSIGN_OR_RETURN(Value item, Convert(child, depth + 1));
        items.push_back(std::move(item));
      }
      return MakeList(std::move(items));
    }
    case Json::value_t::object: {
      auto dict = std::make_shared<DictObject>();
      for (const auto& [key, child] : json.items()) {
        QUIRE_ASSIGN_OR_RETURN(Value item, Convert(child, depth + 1));
        QUIRE_RETURN_IF_ERROR(dict->Set(Value(key), std::move(item)));
      }
      return MakeDict(std::move(dict));
    }
    default:
      return Value::None();
  }
}

class Dumper {
 public:
  explicit Dumper(const DumpOptions& options) : options_(options) {}

  Status Write(const Value& value, size_t level) {
    if (out_.size() > kMaxWeight) return InvalidArgument("JSON text exceeds {} bytes", kMaxWeight);
    switch (value.kind()) {
      case ValueKind::kNone:
        out_ += "null";
        return {};
      case ValueKind::kBool:
        out_ += value.boolean() ? "true" : "false";
        return {};
      case ValueKind::kInt:
        out_ += std::to_string(value.integer());
        return {};
      case ValueKind::kFloat:
        out_ += Number(value.number());
        return {};
      case ValueKind::kString:
        WriteString(value.text());
        return {};
      case ValueKind::kDict:
        return WriteDict(value.dict(), level);
      case ValueKind::kList:
        if (value.IsList(ListKind::kList) || value.IsList(ListKind::kTuple)) return WriteList(*value.list(), level);
        break;
      default:
        break;
    }
    return InvalidArgument("Object of type {} is not JSON serializable", TypeName(value));
  }

  std::string Take() { return std::move(out_); }

 private:
  static std::string Number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return FloatRepr(value);
  }

  void WriteUnit(uint32_t unit) { out_ += fmt::format("\\u{:04x}", unit); }

  void WriteEscape(char32_t code_point) {
    if (code_point >= 0x10000) {
      WriteUnit(0xD800U + ((code_point - 0x10000U) >> 10));
      WriteUnit(0xDC00U + ((code_point - 0x10000U) & 0x3FFU));
    } else {
      WriteUnit(code_point);
    }
  }

  void WriteString(std::string_view text) {
    static constexpr std::string_view kSpecial = "\"\\\n\r\t\f\b";
    static constexpr std::string_view kLetters = "\"\\nrtfb";
    out_ += '"';
    for (size_t offset = 0; offset < text.size();) {
      const size_t start = offset;
      const char32_t code_point = NextCodePoint(text, &offset);
      const size_t special = code_point < 0x80 ? kSpecial.find(static_cast<char>(code_point)) : kSpecial.npos;
      if (special != kSpecial.npos) {
        out_ += '\\';
        out_ += kLetters[special];
      } else if (code_point < 0x20 || (options_.ascii && code_point >= 0x7F)) {
        if (code_point == 0x7F) {
          out_ += '\x7F';
        } else {
          WriteEscape(code_point);
        }
      } else {
        out_.append(text.substr(start, offset - start));
      }
    }
    out_ += '"';
  }

  void NewLine(size_t level) {
    if (!options_.indented) return;
    out_ += '\n';
    for (size_t i = 0; i < level; ++i) out_ += options_.indent;
  }

  Status WriteList(const ListObject& list, size_t level) {
    out_ += '[';
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out_ += options_.item_separator;
      NewLine(level + 1);
      QUIRE_RETURN_IF_ERROR(Write(list.items[i], level + 1));
    }
    if (!list.items.empty()) NewLine(level);
    out_ += ']';
    return {};
  }

  static Result<std::string> Key(const Value& key) {
    if (key.IsString()) return key.text();
    if (key.IsNone()) return std::string("null");
    if (key.IsBool()) return std::string(key.boolean() ? "true" : "false");
    if (key.IsInteger()) return std::to_string(key.integer());
    if (key.IsFloat()) return Number(key.number());
    return InvalidArgument("keys must be str, int, float, bool or None, not {}", TypeName(key));
  }

  Status WriteDict(const DictObject& dict, size_t level) {
    std::vector<std::pair<std::string, const Value*>> entries;
    for (const auto& [key, value] : dict.entries()) {
      QUIRE_ASSIGN_OR_RETURN(std::string name, Key(key));
      entries.emplace_back(std::move(name), &value);
    }
    if (options_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    }
    out_ += '{';
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_ += options_.item_separator;
      NewLine(level + 1);
      WriteString(entries[i].first);
      out_ += options_.key_separator;
      QUIRE_RETURN_IF_ERROR(Write(*entries[i].second, level + 1));
    }
    if (!entries.empty()) NewLine(level);
    out_ += '}';
    return {};
  }

  const DumpOptions& options_;
  std::string out_;
};

}  // namespace

Result<Value> FromJson(const Json& json) { return Convert(json, 1); }

Result<std::string> ToJson(const Value& value, const DumpOptions& options) {
  Dumper dumper(options);
  QUIRE_RETURN_IF_ERROR(dumper.Write(value, 0));
  return dumper.Take();
}

}  // namespace quire::jinja
