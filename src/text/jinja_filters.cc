// Filters over texts, numbers and values of any kind, and the table of all filters.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "text/jinja_builtins.h"
#include "text/jinja_format.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_json.h"
#include "text/jinja_sequence_filters.h"
#include "text/jinja_string_methods.h"
#include "text/jinja_unicode.h"

namespace quire::jinja {
namespace {

using Call = BuiltinCall;

Value Same(const Call& call, std::string text) { return Value(std::move(text), call.input.markup()); }

template <std::string (*kMap)(std::string_view)>
Result<Value> MapText(const Call& call) {
  return Same(call, kMap(Str(call.input)));
}

// Jinja's title: words begin after white space, '-' and opening brackets only.
std::string Title(std::string_view text) {
  std::string out;
  bool starts = true;
  for (size_t offset = 0; offset < text.size();) {
    const size_t begin = offset;
    const char32_t code_point = NextCodePoint(text, &offset);
    const std::string_view character = text.substr(begin, offset - begin);
    out += starts ? ToUpper(character) : ToLower(character);
    starts =
        IsPythonSpace(code_point) ||
        (code_point < 0x80 && std::string_view("-({[<").find(static_cast<char>(code_point)) != std::string_view::npos);
  }
  return out;
}

Result<Value> Trim(const Call& call) {
  const std::string text = Str(call.input);
  if (call[0] == nullptr || call[0]->IsNone()) return Same(call, std::string(StripRight(StripLeft(text))));
  if (!call[0]->IsString()) return InvalidArgument("trim takes a string, not {}", TypeName(*call[0]));
  const std::string_view characters = call[0]->text();
  return Same(call, std::string(StripRight(StripLeft(text, &characters), &characters)));
}

Result<Value> ReplaceFilter(const Call& call) {
  QUIRE_ASSIGN_OR_RETURN(const int64_t count, call.Integer(2, -1));
  QUIRE_ASSIGN_OR_RETURN(std::string text, Replace(Str(call.input), call.Text(0, ""), call.Text(1, ""), count));
  return Same(call, std::move(text));
}

Result<Value> Indent(const Call& call) {
  std::string indentation(4, ' ');
  if (call[0] != nullptr && call[0]->IsString()) {
    indentation = call[0]->text();
  } else {
    QUIRE_ASSIGN_OR_RETURN(const int64_t width, call.Integer(0, 4));
    indentation = std::string(static_cast<size_t>(std::clamp<int64_t>(width, 0, 4096)), ' ');
  }
  const std::string text = Str(call.input) + "\n";  // as Jinja does, so that a newline at the end counts
  const auto lines = SplitLines(text, false);
  if (lines.size() * indentation.size() > kMaxWeight) return InvalidArgument("a string is too long");
  const bool blank = call.Flag(2, false);
  std::string out = call.Flag(1, false) ? indentation : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += "\n";
    if (i > 0 && (blank || !lines[i].empty())) out += indentation;
    out += lines[i];
  }
  return Same(call, std::move(out));
}

Result<Value> Truncate(const Call& call) {
  QUIRE_ASSIGN_OR_RETURN(const int64_t length, call.Integer(0, 255));
  QUIRE_ASSIGN_OR_RETURN(const int64_t leeway, call.Integer(3, 5));
  const std::string end = call.Text(2, "...");
  const std::string text = Str(call.input);
  const std::vector<size_t> offsets = CodePointOffsets(text);
  const auto size = static_cast<int64_t>(offsets.size() - 1);
  const int64_t kept = length - static_cast<int64_t>(CountCodePoints(end));
  if (kept < 0 || leeway < 0) return InvalidArgument("truncate needs a length of its end mark at least");
  if (size <= length + leeway) return Same(call, text);
  std::string head = text.substr(0, offsets[static_cast<size_t>(std::min(kept, size))]);
  if (!call.Flag(1, false)) head = head.substr(0, head.rfind(' '));
  return Same(call, head + end);
}

Result<Value> WordCount(const Call& call) {
  const std::string text = Str(call.input);
  int64_t words = 0;
  bool inside = false;
  for (size_t offset = 0; offset < text.size();) {
    const char32_t code_point = NextCodePoint(text, &offset);
    const bool part = IsAlphabetic(code_point) || IsDecimalDigit(code_point) || code_point == '_';
    words += part && !inside ? 1 : 0;
    inside = part;
  }
  return Value(words);
}

Result<Value> Center(const Call& call) {
  const Value text(Str(call.input), call.input.markup());
  Arguments arguments{.positional = {call[0] == nullptr ? Value(int64_t{80}) : *call[0]}, .named = {}};
  return Invoke(StringMethods().at("center"), "center", call.interpreter, text, arguments);
}

Result<Value> Format(const Call& call) {
  if (call.arguments.named.empty()) {
    QUIRE_ASSIGN_OR_RETURN(const Value values, MakeList(call.arguments.positional, ListKind::kTuple));
    return FormatPercent(Value(Str(call.input), call.input.markup()), values);
  }
  auto dict = std::make_shared<DictObject>();
  for (const auto& [name, value] : call.arguments.named) QUIRE_RETURN_IF_ERROR(dict->Set(Value(name), value));
  QUIRE_ASSIGN_OR_RETURN(const Value values, MakeDict(std::move(dict)));
  return FormatPercent(Value(Str(call.input), call.input.markup()), values);
}

Result<Value> String(const Call& call) { return call.input.IsString() ? call.input : Value(Str(call.input)); }
Result<Value> Safe(const Call& call) { return Value(Str(call.input), true); }

Result<Value> Escape(const Call& call) {
  return call.input.markup() ? call.input : Value(EscapeHtml(Str(call.input)), true);
}
Result<Value> ForceEscape(const Call& call) { return Value(EscapeHtml(Str(call.input)), true); }

Result<Value> Default(const Call& call) {
  const bool missing = call.input.IsUndefined() || (call.Flag(1, false) && !Truth(call.input));
  if (!missing) return call.input;
  return call[0] == nullptr ? Value(std::string()) : *call[0];
}

// The number at the whole of `text`, spaces around it and underscores within it aside.
bool ParseFloat(std::string_view text, double* number) {
  std::string digits(StripRight(StripLeft(text)));
  std::erase(digits, '_');
  const std::string_view body = std::string_view(digits).substr(digits.starts_with('+') ? 1 : 0);
  const auto parsed = std::from_chars(body.data(), body.data() + body.size(), *number);
  return !body.empty() && parsed.ptr == body.data() + body.size() && parsed.ec == std::errc{};
}

bool ParseInteger(std::string_view text, int base, int64_t* number) {
  std::string digits(StripRight(StripLeft(text)));
  std::erase(digits, '_');
  std::string_view body = std::string_view(digits).substr(digits.starts_with('+') ? 1 : 0);
  const std::string prefix = base == 16 ? "0x" : base == 8 ? "0o" : base == 2 ? "0b" : "";
  if (!prefix.empty() && ToLower(body).starts_with(prefix)) body.remove_prefix(2);
  const auto parsed = std::from_chars(body.data(), body.data() + body.size(), *number, base);
  return !body.empty() && parsed.ptr == body.data() + body.size() && parsed.ec == std::errc{};
}

Result<Value> Truncated(double number, const Value& otherwise) {
  if (!std::isfinite(number)) return otherwise;
  if (std::abs(number) >= 9.2e18) return InvalidArgument("an integer is out of range");
  return Value(static_cast<int64_t>(number));
}

Result<Value> Int(const Call& call) {
  const Value otherwise = call[0] == nullptr ? Value(int64_t{0}) : *call[0];
  QUIRE_ASSIGN_OR_RETURN(const int64_t base, call.Integer(1, 10));
  if (call.input.IsUndefined()) return UndefinedError(call.input);
  if (call.input.IsInteger()) return Value(call.input.integer());
  if (call.input.IsFloat()) return Truncated(call.input.number(), otherwise);
  if (!call.input.IsString() || base < 2 || base > 36) return otherwise;
  int64_t integer = 0;
  if (ParseInteger(call.input.text(), static_cast<int>(base), &integer)) return Value(integer);
  double number = 0;
  return ParseFloat(call.input.text(), &number) ? Truncated(number, otherwise) : otherwise;
}

Result<Value> Float(const Call& call) {
  if (call.input.IsUndefined()) return UndefinedError(call.input);
  if (call.input.IsNumber()) return Value(call.input.number());
  double number = 0;
  if (call.input.IsString() && ParseFloat(call.input.text(), &number)) return Value(number);
  return call[0] == nullptr ? Value(0.0) : *call[0];
}

Result<Value> Abs(const Call& call) {
  if (call.input.IsUndefined()) return UndefinedError(call.input);
  if (call.input.IsFloat()) return Value(std::abs(call.input.number()));
  if (!call.input.IsInteger()) return InvalidArgument("bad operand type for abs(): '{}'", TypeName(call.input));
  if (call.input.integer() == INT64_MIN) return InvalidArgument("an integer is out of range");
  return Value(std::abs(call.input.integer()));
}

Result<Value> Round(const Call& call) {
  if (call.input.IsUndefined()) return UndefinedError(call.input);
  if (!call.input.IsNumber()) return InvalidArgument("round needs a number, not {}", TypeName(call.input));
  QUIRE_ASSIGN_OR_RETURN(const int64_t precision, call.Integer(0, 0));
  const std::string method = call.Text(1, "common");
  if (std::abs(precision) > 300) return InvalidArgument("round takes a precision from -300 to 300");
  const double number = call.input.number();
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return Value(std::ceil(number * scale) / scale);
  if (method == "floor") return Value(std::floor(number * scale) / scale);
  if (method != "common") return InvalidArgument("method must be common, ceil or floor");
  if (call.input.IsInteger() && precision >= 0) return call.input;
  if (precision < 0) {
    const double rounded = std::nearbyint(number * scale) / scale;
    return call.input.IsInteger() ? Value(static_cast<int64_t>(rounded)) : Value(rounded);
  }
  double rounded = number;  // decimal rounding of the exact binary value, as Python's round()
  const std::string digits = fmt::format("{:.{}f}", number, precision);
  std::from_chars(digits.data(), digits.data() + digits.size(), rounded);
  return Value(rounded);
}

Status ReadIndent(const Value& value, DumpOptions* options) {
  if (value.IsNone()) return {};
  if (!value.IsInteger() && !value.IsString()) return InvalidArgument("indent must be an integer or a string");
  options->indented = true;
  options->item_separator = ",";
  options->indent = value.IsString() ? value.text() : "";
  if (value.IsInteger()) options->indent.assign(static_cast<size_t>(std::clamp<int64_t>(value.integer(), 0, 64)), ' ');
  if (options->indent.size() > 64) return InvalidArgument("indent is longer than 64");
  return {};
}

Result<Value> ToJsonFilter(const Call& call) {
  DumpOptions options;
  options.ascii = call.Flag(0, false);
  options.sort_keys = call.Flag(3, false);
  if (call[1] != nullptr) QUIRE_RETURN_IF_ERROR(ReadIndent(*call[1], &options));
  if (call[2] != nullptr && !call[2]->IsNone()) {
    QUIRE_ASSIGN_OR_RETURN(const auto separators, Iterate(*call[2]));
    if (separators->items.size() != 2) return InvalidArgument("separators must be a pair");
    options.item_separator = Str(separators->items[0]);
    options.key_separator = Str(separators->items[1]);
    if (options.item_separator.size() + options.key_separator.size() > 64) {
      return InvalidArgument("separators are longer than 64");
    }
  }
  QUIRE_ASSIGN_OR_RETURN(std::string text, ToJson(call.input, options));
  return Value(std::move(text));
}

}  // namespace

const BuiltinTable& Filters() {
  static const BuiltinTable table = [] {
    BuiltinTable filters = {
        {"upper", {MapText<ToUpper>, {}}},
        {"lower", {MapText<ToLower>, {}}},
        {"capitalize", {MapText<Capitalize>, {}}},
        {"title", {MapText<Title>, {}}},
        {"trim", {Trim, {"chars"}}},
        {"replace", {ReplaceFilter, {"old", "new", "count"}, 2}},
        {"indent", {Indent, {"width", "first", "blank"}}},
        {"truncate", {Truncate, {"length", "killwords", "end", "leeway"}}},
        {"wordcount", {WordCount, {}}},
        {"center", {Center, {"width"}}},
        {"format", {.function = Format, .parameters = {}, .required = 0, .variadic = true}},
        {"string", {String, {}}},
        {"safe", {Safe, {}}},
        {"escape", {Escape, {}}},
        {"e", {Escape, {}}},
        {"forceescape", {ForceEscape, {}}},
        {"default", {Default, {"default_value", "boolean"}}},
        {"d", {Default, {"default_value", "boolean"}}},
        {"int", {Int, {"default", "base"}}},
        {"float", {Float, {"default"}}},
        {"abs", {Abs, {}}},
        {"round", {Round, {"precision", "method"}}},
        {"tojson", {ToJsonFilter, {"ensure_ascii", "indent", "separators", "sort_keys"}}},
    };
    AddSequenceFilters(&filters);
    AddTextFilters(&filters);
    return filters;
  }();
  return table;
}

}  // namespace quire::jinja
