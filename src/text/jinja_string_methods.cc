#include "text/jinja_string_methods.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja_builtins.h"
#include "text/jinja_format.h"
#include "text/jinja_unicode.h"

namespace quire::jinja {
namespace {

constexpr int64_t kMaxWidth = 65536;
constexpr int64_t kMaxTabSize = 64;

Value Same(const BuiltinCall& call, std::string text) { return Value(std::move(text), call.input.markup()); }

Result<std::string_view> TextArgument(const BuiltinCall& call, size_t parameter) {
  const Value& value = *call[parameter];
  if (value.IsString()) return std::string_view(value.text());
  return InvalidArgument("a string is required, not {}", TypeName(value));
}

template <bool kLeft, bool kRight>
Result<Value> Strip(const BuiltinCall& call) {
  std::string_view characters;
  const bool given = call[0] != nullptr && !call[0]->IsNone();
  if (given) {
    QUIRE_ASSIGN_OR_RETURN(characters, TextArgument(call, 0));
  }
  std::string_view text = call.input.text();
  if (kLeft) text = StripLeft(text, given ? &characters : nullptr);
  if (kRight) text = StripRight(text, given ? &characters : nullptr);
  return Same(call, std::string(text));
}

template <std::string (*kMap)(std::string_view)>
Result<Value> Map(const BuiltinCall& call) {
  return Same(call, kMap(call.input.text()));
}

std::string SwapCase(std::string_view text) {
  std::string out;
  for (size_t offset = 0; offset < text.size();) {
    const size_t start = offset;
    const char32_t code_point = NextCodePoint(text, &offset);
    const std::string_view character = text.substr(start, offset - start);
    out += IsUpper(code_point) ? ToLower(character) : ToUpper(character);
  }
  return out;
}

Result<Value> Strings(std::vector<std::string_view> parts) {
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) items.emplace_back(std::string(part));
  return MakeList(std::move(items));
}

std::vector<std::string_view> SplitSpace(std::string_view text, int64_t limit) {
  std::vector<std::string_view> parts;
  for (text = StripLeft(text); !text.empty(); text = StripLeft(text)) {
    size_t end = 0;
    while (end < text.size()) {
      size_t next = end;
      if (IsPythonSpace(NextCodePoint(text, &next))) break;
      end = next;
    }
    if (limit >= 0 && static_cast<int64_t>(parts.size()) == limit) end = text.size();
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

std::vector<std::string_view> SplitSpaceRight(std::string_view text, int64_t limit) {
  std::vector<std::string_view> parts;
  for (text = StripRight(text); !text.empty(); text = StripRight(text)) {
    if (limit >= 0 && static_cast<int64_t>(parts.size()) == limit) {
      parts.push_back(text);
      break;
    }
    const std::string_view last = SplitSpace(text, -1).back();
    parts.push_back(last);
    text.remove_suffix(last.size());
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> SplitBy(std::string_view text, std::string_view separator, int64_t limit) {
  std::vector<std::string_view> parts;
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    const size_t at = text.find(separator);
    if (at == std::string_view::npos) break;
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  parts.push_back(text);
  return parts;
}

std::vector<std::string_view> SplitByRight(std::string_view text, std::string_view separator, int64_t limit) {
  std::vector<std::string_view> parts;
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    const size_t at = text.rfind(separator);
    if (at == std::string_view::npos) break;
    parts.push_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool kRight>
Result<Value> Split(const BuiltinCall& call) {
  QUIRE_ASSIGN_OR_RETURN(const int64_t limit, call.Integer(1, -1));
  const std::string& text = call.input.text();
  if (call[0] == nullptr || call[0]->IsNone()) {
    // From the right only a limit makes a difference, and the parts are few then.
    return Strings(kRight && limit >= 0 ? SplitSpaceRight(text, std::min<int64_t>(limit, 1000))
                                        : SplitSpace(text, limit));
  }
  QUIRE_ASSIGN_OR_RETURN(const std::string_view separator, TextArgument(call, 0));
  if (separator.empty()) return InvalidArgument("empty separator");
  return Strings(kRight ? SplitByRight(text, separator, limit) : SplitBy(text, separator, limit));
}

template <bool kRight>
Result<Value> Partition(const BuiltinCall& call) {
  QUIRE_ASSIGN_OR_RETURN(const std::string_view separator, TextArgument(call, 0));
  if (separator.empty()) return InvalidArgument("empty separator");
  const std::string& text = call.input.text();
  const size_t at = kRight ? text.rfind(separator) : text.find(separator);
  const std::string none;
  std::vector<Value> parts;
  if (at == std::string::npos) {
    parts = {Value(kRight ? none : text), Value(none), Value(kRight ? text : none)};
  } else {
    parts = {Value(text.substr(0, at)), Value(std::string(separator)), Value(text.substr(at + separator.size()))};
  }
  return MakeList(std::move(parts), ListKind::kTuple);
}

Result<Value> SplitLinesMethod(const BuiltinCall& call) {
  return Strings(SplitLines(call.input.text(), call.Flag(0, false)));
}

// The part of the receiver within [start, end), in code points; the offset of its start is added to *begin.
Result<std::string_view> Window(const BuiltinCall& call, size_t start_parameter, int64_t* begin) {
  *begin = 0;
  const std::string_view text = call.input.text();
  if (call[start_parameter] == nullptr && call[start_parameter + 1] == nullptr) return text;
  const std::vector<size_t> offsets = CodePointOffsets(text);
  const auto size = static_cast<int64_t>(offsets.size() - 1);
  QUIRE_ASSIGN_OR_RETURN(int64_t start, call.Integer(start_parameter, 0));
  QUIRE_ASSIGN_OR_RETURN(int64_t end, call.Integer(start_parameter + 1, size));
  start = std::clamp<int64_t>(start < 0 ? start + size : start, 0, size);
  end = std::clamp<int64_t>(end < 0 ? end + size : end, start, size);
  *begin = start;
  const size_t first = offsets[static_cast<size_t>(start)];
  return text.substr(first, offsets[static_cast<size_t>(end)] - first);
}

template <bool kStart>
Result<Value> Affix(const BuiltinCall& call) {
  int64_t begin = 0;
  QUIRE_ASSIGN_OR_RETURN(const std::string_view text, Window(call, 1, &begin));
  const auto matches = [text](const Value& affix) {
    return kStart ? text.starts_with(affix.text()) : text.ends_with(affix.text());
  };
  if (call[0]->IsString()) return Value(matches(*call[0]));
  if (!call[0]->IsList(ListKind::kTuple)) return InvalidArgument("a string or a tuple of strings is required");
  bool found = false;
  for (const Value& affix : call[0]->list()->items) {
    if (!affix.IsString()) return InvalidArgument("a string or a tuple of strings is required");
    found = found || matches(affix);
  }
  return Value(found);
}

template <bool kRight, bool kRequired>
Result<Value> Find(const BuiltinCall& call) {
  QUIRE_ASSIGN_OR_RETURN(const std::string_view wanted, TextArgument(call, 0));
  int64_t begin = 0;
  QUIRE_ASSIGN_OR_RETURN(const std::string_view text, Window(call, 1, &begin));
  const size_t at = kRight ? text.rfind(wanted) : text.find(wanted);
  if (at != std::string_view::npos) return Value(begin + static_cast<int64_t>(CountCodePoints(text.substr(0, at))));
  if (kRequired) return InvalidArgument("substring not found");
  return Value(int64_t{-1});
}

Result<Value> Count(const BuiltinCall& call) {
  QUIRE_ASSIGN_OR_RETURN(const std::string_view wanted, TextArgument(call, 0));
  int64_t begin = 0;
  QUIRE_ASSIGN_OR_RETURN(const std::string_view text, Window(call, 1, &begin));
  if (wanted.empty()) return Value(static_cast<int64_t>(CountCodePoints(text) + 1));
  int64_t count = 0;
  for (size_t at = text.find(wanted); at != std::string::npos; at = text.find(wanted, at + wanted.size())) ++count;
  return Value(count);
}

Result<Value> ReplaceMethod(const BuiltinCall& call) {
  QUIRE_ASSIGN_OR_RETURN(const std::string_view from, TextArgument(call, 0));
  QUIRE_ASSIGN_OR_RETURN(const std::string_view to, TextArgument(call, 1));
  QUIRE_ASSIGN_OR_RETURN(const int64_t count, call.Integer(2, -1));
  QUIRE_ASSIGN_OR_RETURN(std::string text, Replace(call.input.text(), from, to, count));
  return Same(call, std::move(text));
}

Result<Value> RemovePrefix(const BuiltinCall& call) {
  QUIRE_ASSIGN_OR_RETURN(const std::string_view prefix, TextArgument(call, 0));
  const std::string& text = call.input.text();
  return Same(call, text.starts_with(prefix) ? text.substr(prefix.size()) : text);
}

Result<Value> RemoveSuffix(const BuiltinCall& call) {
  QUIRE_ASSIGN_OR_RETURN(const std::string_view suffix, TextArgument(call, 0));
  const std::string& text = call.input.text();
  return Same(call, text.ends_with(suffix) ? text.substr(0, text.size() - suffix.size()) : text);
}

Result<Value> Join(const BuiltinCall& call) {
  QUIRE_ASSIGN_OR_RETURN(const auto items, Iterate(*call[0]));
  std::string out;
  bool first = true;
  for (const Value& item : items->items) {
    if (!item.IsString()) return InvalidArgument("sequence item: expected str instance, {} found", TypeName(item));
    if (!first) out += call.input.text();
    first = false;
    out += item.text();
    if (out.size() > kMaxWeight) return InvalidArgument("a string is too long");
  }
  return Same(call, std::move(out));
}

Result<Value> Format(const BuiltinCall& call) { return FormatBraces(call.input, call.arguments); }

Result<Value> FormatMap(const BuiltinCall& call) {
  if (!call[0]->IsDict()) return InvalidArgument("format_map() takes a mapping, not {}", TypeName(*call[0]));
  Arguments named;
  for (const auto& [key, value] : call[0]->dict().entries()) named.named.emplace_back(Str(key), value);
  return FormatBraces(call.input, named);
}

// 'l', 'r' or 'c': where the text goes within the width.
template <char kPlace>
Result<Value> Justify(const BuiltinCall& call) {
  QUIRE_ASSIGN_OR_RETURN(const int64_t width, call.Integer(0, 0));
  const std::string fill = call.Text(1, " ");
  if (CountCodePoints(fill) != 1) return InvalidArgument("the fill character must be exactly one character long");
  if (width > kMaxWidth) return InvalidArgument("a width is over {}", kMaxWidth);
  const auto size = static_cast<int64_t>(CountCodePoints(call.input.text()));
  const int64_t missing = std::max<int64_t>(width - size, 0);
  const int64_t left = kPlace == 'l' ? 0 : kPlace == 'r' ? missing : missing / 2 + (missing & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += call.input.text();
  for (int64_t i = left; i < missing; ++i) out += fill;
  return Same(call, std::move(out));
}

// Zeros between the sign, if any, and the rest.
Result<Value> ZeroFill(const BuiltinCall& call) {
  QUIRE_ASSIGN_OR_RETURN(const int64_t width, call.Integer(0, 0));
  if (width > kMaxWidth) return InvalidArgument("a width is over {}", kMaxWidth);
  std::string text = call.input.text();
  const int64_t missing = width - static_cast<int64_t>(CountCodePoints(text));
  const size_t sign = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  if (missing > 0) text.insert(sign, static_cast<size_t>(missing), '0');
  return Same(call, std::move(text));
}

Result<Value> ExpandTabs(const BuiltinCall& call) {
  QUIRE_ASSIGN_OR_RETURN(const int64_t size, call.Integer(0, 8));
  if (size > kMaxTabSize) return InvalidArgument("a tab size is over {}", kMaxTabSize);
  std::string out;
  int64_t column = 0;
  for (const char c : call.input.text()) {
    if (c == '\t') {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      out.append(static_cast<size_t>(spaces), ' ');
      column += spaces;
      continue;
    }
    out += c;
    if (c == '\n' || c == '\r') {
      column = 0;
    } else if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) {
      ++column;
    }
  }
  return Same(call, std::move(out));
}

}  // namespace

Result<std::string> Replace(std::string_view text, std::string_view from, std::string_view to, int64_t count) {
  std::string out;
  size_t begin = 0;
  for (int64_t done = 0; count < 0 || done < count; ++done) {
    if (out.size() > kMaxWeight) return InvalidArgument("a string is too long");
    const size_t at = text.find(from, begin);
    if (at == std::string_view::npos) break;
    out.append(text.substr(begin, at - begin)).append(to);
    begin = at + from.size();
    if (!from.empty()) continue;
    if (at >= text.size()) return out;
    NextCodePoint(text, &begin);  // an empty text stands before every character and at the end
    out.append(text.substr(at, begin - at));
  }
  out.append(text.substr(begin));
  return out;
}

std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t offset = 0; offset < text.size();) {
    const size_t end = offset;
    const char32_t c = NextCodePoint(text, &offset);
    const bool breaks = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!breaks) continue;
    if (c == U'\r' && offset < text.size() && text[offset] == '\n') ++offset;
    lines.push_back(text.substr(begin, (keep_ends ? offset : end) - begin));
    begin = offset;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

const BuiltinTable& StringMethods() {
  static const BuiltinTable table = [] {
    BuiltinTable methods = {
        {"strip", {Strip<true, true>, {"chars"}}},
        {"lstrip", {Strip<true, false>, {"chars"}}},
        {"rstrip", {Strip<false, true>, {"chars"}}},
        {"upper", {Map<ToUpper>, {}}},
        {"lower", {Map<ToLower>, {}}},
        {"casefold", {Map<FoldCase>, {}}},
        {"title", {Map<ToTitle>, {}}},
        {"capitalize", {Map<Capitalize>, {}}},
        {"swapcase", {Map<SwapCase>, {}}},
        {"split", {Split<false>, {"sep", "maxsplit"}}},
        {"rsplit", {Split<true>, {"sep", "maxsplit"}}},
        {"partition", {Partition<false>, {"sep"}, 1}},
        {"rpartition", {Partition<true>, {"sep"}, 1}},
        {"splitlines", {SplitLinesMethod, {"keepends"}}},
        {"startswith", {Affix<true>, {"prefix", "start", "end"}, 1}},
        {"endswith", {Affix<false>, {"suffix", "start", "end"}, 1}},
        {"find", {Find<false, false>, {"sub", "start", "end"}, 1}},
        {"rfind", {Find<true, false>, {"sub", "start", "end"}, 1}},
        {"index", {Find<false, true>, {"sub", "start", "end"}, 1}},
        {"rindex", {Find<true, true>, {"sub", "start", "end"}, 1}},
        {"count", {Count, {"sub", "start", "end"}, 1}},
        {"replace", {ReplaceMethod, {"old", "new", "count"}, 2}},
        {"removeprefix", {RemovePrefix, {"prefix"}, 1}},
        {"removesuffix", {RemoveSuffix, {"suffix"}, 1}},
        {"join", {Join, {"iterable"}, 1}},
        {"format", {.function = Format, .parameters = {}, .required = 0, .variadic = true}},
        {"format_map", {FormatMap, {"mapping"}, 1}},
        {"ljust", {Justify<'l'>, {"width", "fillchar"}, 1}},
        {"rjust", {Justify<'r'>, {"width", "fillchar"}, 1}},
        {"zfill", {ZeroFill, {"width"}, 1}},
        {"expandtabs", {ExpandTabs, {"tabsize"}}},
        {"center", {Justify<'c'>, {"width", "fillchar"}, 1}},
    };
    AddStringPredicates(&methods);
    return methods;
  }();
  return table;
}

}  // namespace quire::jinja
