// Filters that lay a text out for where it is shown: addresses, markup, sizes.
#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "text/jinja_builtins.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_operators.h"
#include "text/jinja_sequence_filters.h"
#include "text/jinja_unicode.h"

namespace quire::jinja {
namespace {

using Call = BuiltinCall;

// Percent-encoded; within a query a space is '+' and '/' is encoded too.
std::string Quoted(std::string_view text, bool in_query) {
  static constexpr std::string_view kKept = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~";
  std::string out;
  for (const char c : text) {
    if (kKept.find(c) != std::string_view::npos || (c == '/' && !in_query)) {
      out += c;
    } else if (c == ' ' && in_query) {
      out += '+';
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    }
  }
  return out;
}

// A text, or a mapping or pairs as a query.
Result<Value> UrlEncode(const Call& call) {
  if (!call.input.IsDict() && !call.input.IsList()) return Value(Quoted(Str(call.input), false));
  std::string out;
  const auto append = [&out](const Value& key, const Value& value) {
    if (!out.empty()) out += '&';
    out += Quoted(Str(key), true) + "=" + Quoted(Str(value), true);
  };
  if (call.input.IsDict()) {
    for (const auto& [key, value] : call.input.dict().entries()) append(key, value);
    return Value(std::move(out));
  }
  QUIRE_ASSIGN_OR_RETURN(const auto pairs, Iterate(call.input));
  for (const Value& pair : pairs->items) {
    QUIRE_ASSIGN_OR_RETURN(const auto parts, Iterate(pair));
    if (parts->items.size() != 2) return InvalidArgument("urlencode takes a text, a mapping or pairs");
    append(parts->items[0], parts->items[1]);
  }
  return Value(std::move(out));
}

// Without what stands between `open` and `close`.
std::string Without(std::string text, std::string_view open, std::string_view close) {
  std::string out;
  size_t begin = 0;
  for (size_t at = text.find(open); at != std::string::npos; at = text.find(open, begin)) {
    const size_t end = text.find(close, at);
    if (end == std::string::npos) break;
    out.append(text, begin, at - begin);
    begin = end + close.size();
  }
  return out.append(text, begin);
}

std::string Unescape(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kEntities = {
      {{"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&#34;", "\""}, {"&#39;", "'"}, {"&amp;", "&"}}};
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const auto* found = std::ranges::find_if(
        kEntities, [rest = text.substr(at)](const auto& entity) { return rest.starts_with(entity.first); });
    out += found == kEntities.end() ? text.substr(at, 1) : found->second;
    at += found == kEntities.end() ? 1 : found->first.size();
  }
  return out;
}

Result<Value> StripTags(const Call& call) {
  const std::string text = Without(Without(Str(call.input), "<!--", "-->"), "<", ">");
  std::string out;
  bool space = false;
  for (size_t offset = 0; offset < text.size();) {
    const size_t begin = offset;
    if (IsPythonSpace(NextCodePoint(text, &offset))) {
      space = true;
      continue;
    }
    if (space && !out.empty()) out += ' ';
    space = false;
    out.append(text, begin, offset - begin);
  }
  return Value(Unescape(out));
}

Result<Value> FileSizeFormat(const Call& call) {
  static constexpr std::array<const char*, 8> kDecimal = {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
  static constexpr std::array<const char*, 8> kBinary = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};
  QUIRE_ASSIGN_OR_RETURN(const Value number, ApplyFilter(call.interpreter, "float", call.input, {}));
  const bool binary = call.Flag(0, false);
  const double base = binary ? 1024 : 1000;
  const double bytes = number.number();
  if (bytes == 1) return Value(std::string("1 Byte"));
  if (bytes < base) return Value(fmt::format("{:.0f} Bytes", std::trunc(bytes)));
  double unit = base;
  size_t prefix = 0;
  for (; prefix + 1 < kDecimal.size() && bytes >= unit * base; ++prefix) unit *= base;
  return Value(fmt::format("{:.1f} {}", bytes / unit, (binary ? kBinary : kDecimal)[prefix]));
}

// ' name="value"' of every entry that is not missing or none.
Result<Value> XmlAttributes(const Call& call) {
  if (!call.input.IsDict()) return InvalidArgument("xmlattr takes a mapping, not {}", TypeName(call.input));
  std::string out;
  for (const auto& [key, value] : call.input.dict().entries()) {
    if (value.IsNone() || value.IsUndefined()) continue;
    const std::string name = Str(key);
    if (name.find_first_of(" \t\n\r\f\v/>=") != std::string::npos) {
      return InvalidArgument("invalid character in attribute name: {}", StringRepr(name));
    }
    if (!out.empty()) out += ' ';
    out += EscapeHtml(name) + "=\"" + (value.markup() ? value.text() : EscapeHtml(Str(value))) + "\"";
  }
  if (!out.empty() && call.Flag(0, true)) out.insert(0, " ");
  return Value(std::move(out));
}

}  // namespace

void AddTextFilters(BuiltinTable* table) {
  table->insert({{"urlencode", {UrlEncode, {}}},
                 {"striptags", {StripTags, {}}},
                 {"filesizeformat", {FileSizeFormat, {"binary"}}},
                 {"xmlattr", {XmlAttributes, {"autospace"}}}});
}

}  // namespace quire::jinja
