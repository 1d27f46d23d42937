#include "text/jinja_format.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "text/jinja_unicode.h"

namespace quire::jinja {
namespace {

constexpr int kMaxWidth = 4096;

// One conversion: [[fill]align][sign][#][0][width][,][.precision][type].
struct Spec {
  std::string fill = " ";
  char align = 0;  // '<', '>', '^', '=' or 0: by type
  char sign = '-';
  bool alternate = false;
  bool grouped = false;
  int width = 0;
  int precision = -1;
  char type = 0;
};

Result<int> ParseNumber(std::string_view* text) {
  int number = 0;
  const auto parsed = std::from_chars(text->data(), text->data() + text->size(), number);
  if (parsed.ec == std::errc::result_out_of_range || number > kMaxWidth) {
    return InvalidArgument("a format's width is over {}", kMaxWidth);
  }
  text->remove_prefix(static_cast<size_t>(parsed.ptr - text->data()));
  return number;
}

std::string Pad(std::string text, const Spec& spec, char natural_align) {
  const auto size = static_cast<int>(CountCodePoints(text));
  if (size >= spec.width) return text;
  const int missing = spec.width - size;
  const auto filling = [&](int count) {
    std::string out;
    for (int i = 0; i < count; ++i) out += spec.fill;
    return out;
  };
  const char align = spec.align == 0 ? natural_align : spec.align;
  if (align == '<') return text + filling(missing);
  if (align == '^') return filling(missing / 2) + text + filling(missing - missing / 2);
  const size_t sign = align == '=' && !text.empty() && (text[0] == '-' || text[0] == '+' || text[0] == ' ') ? 1 : 0;
  return text.substr(0, sign) + filling(missing) + text.substr(sign);
}

void Group(std::string* digits) {
  const size_t end = std::min(digits->find('.'), digits->size());
  for (size_t at = end; at > 3; at -= 3) digits->insert(at - 3, ",");
}

std::string WithSign(std::string digits, bool negative, char sign) {
  if (negative) return "-" + digits;
  return sign == '-' ? digits : sign + digits;
}

Result<std::string> FormatInteger(int64_t value, const Spec& spec) {
  const bool negative = value < 0;
  const uint64_t size = negative ? uint64_t{0} - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  std::string digits;
  switch (spec.type) {
    case 'x':
      digits = fmt::format("{}{:x}", spec.alternate ? "0x" : "", size);
      break;
    case 'X':
      digits = fmt::format("{}{:X}", spec.alternate ? "0X" : "", size);
      break;
    case 'o':
      digits = fmt::format("{}{:o}", spec.alternate ? "0o" : "", size);
      break;
    case 'b':
      digits = fmt::format("{}{:b}", spec.alternate ? "0b" : "", size);
      break;
    default:
      digits = std::to_string(size);
  }
  if (spec.grouped) Group(&digits);
  return Pad(WithSign(std::move(digits), negative, spec.sign), spec, '>');
}

Result<std::string> FormatFloat(double value, const Spec& spec) {
  const int precision = spec.precision < 0 ? 6 : spec.precision;
  const double size = std::abs(value);
  std::string digits;
  switch (spec.type) {
    case 'e':
      digits = fmt::format("{:.{}e}", size, precision);
      break;
    case 'E':
      digits = fmt::format("{:.{}E}", size, precision);
      break;
    case 'g':
      digits = fmt::format("{:.{}g}", size, precision);
      break;
    case 'G':
      digits = fmt::format("{:.{}G}", size, precision);
      break;
    case '%':
      digits = fmt::format("{:.{}f}%", size * 100, precision);
      break;
    case 0:
      digits = spec.precision < 0 ? FloatRepr(size) : fmt::format("{:.{}g}", size, precision);
      break;
    default:
      digits = fmt::format("{:.{}f}", size, precision);
  }
  if (spec.grouped) Group(&digits);
  return Pad(WithSign(std::move(digits), std::signbit(value), spec.sign), spec, '>');
}

std::string Truncated(const std::string& text, int precision) {
  if (precision < 0) return text;
  const std::vector<size_t> offsets = CodePointOffsets(text);
  return text.substr(0, offsets[std::min(static_cast<size_t>(precision), offsets.size() - 1)]);
}

bool IsFloatType(char type) { return std::string_view("eEfFgG%").find(type) != std::string_view::npos && type != 0; }
bool IsIntegerType(char type) { return std::string_view("dioxXbun").find(type) != std::string_view::npos && type != 0; }

Result<std::string> ApplySpec(const Value& value, const Spec& spec) {
  if (IsIntegerType(spec.type)) {
    if (!value.IsNumber() || !std::isfinite(value.number()) || std::abs(value.number()) > 9e18) {
      return InvalidArgument("format '{}' requires a number, not {}", spec.type, TypeName(value));
    }
    return FormatInteger(value.IsInteger() ? value.integer() : static_cast<int64_t>(value.number()), spec);
  }
  if (IsFloatType(spec.type)) {
    if (value.IsNumber()) return FormatFloat(value.number(), spec);
    return InvalidArgument("format '{}' requires a number, not {}", spec.type, TypeName(value));
  }
  if (spec.type == 0 && value.IsFloat()) return FormatFloat(value.number(), spec);
  if (spec.type == 0 && value.Is(ValueKind::kInt)) return FormatInteger(value.integer(), spec);
  if (spec.type != 0 && spec.type != 's' && spec.type != 'r') {
    return InvalidArgument("unsupported format character '{}'", spec.type);
  }
  return Pad(Truncated(spec.type == 'r' ? Repr(value) : Str(value), spec.precision), spec, '<');
}

// After the '%': the flags, width, precision and type.
Result<Spec> ParsePercentSpec(std::string_view* text) {
  Spec spec;
  for (; !text->empty(); text->remove_prefix(1)) {
    const char flag = text->front();
    if (flag == '-') {
      spec.align = '<';
    } else if (flag == '0') {
      spec.fill = "0";
      if (spec.align == 0) spec.align = '=';
    } else if (flag == '+' || flag == ' ') {
      spec.sign = flag;
    } else if (flag == '#') {
      spec.alternate = true;
    } else {
      break;
    }
  }
  if (spec.align == 0) spec.align = '>';
  QUIRE_ASSIGN_OR_RETURN(spec.width, ParseNumber(text));
  if (text->starts_with('.')) {
    text->remove_prefix(1);
    QUIRE_ASSIGN_OR_RETURN(spec.precision, ParseNumber(text));
  }
  if (text->empty()) return InvalidArgument("incomplete format");
  spec.type = text->front();
  text->remove_prefix(1);
  return spec;
}

Result<Spec> ParseBraceSpec(std::string_view text) {
  Spec spec;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  size_t first = 0;
  if (!text.empty()) NextCodePoint(text, &first);
  if (first < text.size() && is_align(text[first])) {
    spec.fill = std::string(text.substr(0, first));
    spec.align = text[first];
    text.remove_prefix(first + 1);
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[0];
    text.remove_prefix(1);
  }
  const auto take = [&text](char c) {
    const bool found = text.starts_with(c);
    if (found) text.remove_prefix(1);
    return found;
  };
  if (take('+')) spec.sign = '+';
  if (take(' ')) spec.sign = ' ';
  take('-');
  spec.alternate = take('#');
  if (text.starts_with('0') && spec.align == 0) {
    spec.fill = "0";
    spec.align = '=';
  }
  QUIRE_ASSIGN_OR_RETURN(spec.width, ParseNumber(&text));
  spec.grouped = take(',');
  if (take('.')) {
    QUIRE_ASSIGN_OR_RETURN(spec.precision, ParseNumber(&text));
  }
  if (!text.empty()) spec.type = text[0];
  if (text.size() > 1) return InvalidArgument("invalid format specifier");
  return spec;
}

// The values of a '%' format, one after the other or by name.
class PercentValues {
 public:
  explicit PercentValues(const Value& values) : values_(values) {}

  Result<Value> Next() {
    const bool tuple = values_.IsList(ListKind::kTuple);
    const size_t count = tuple ? values_.list()->items.size() : 1;
    if (next_ >= count) return InvalidArgument("not enough arguments for format string");
    return tuple ? values_.list()->items[next_++] : (++next_, values_);
  }

  Result<Value> Named(std::string_view name) {
    if (!values_.IsDict()) return InvalidArgument("format requires a mapping");
    const Value* value = values_.dict().Find(name);
    if (value == nullptr) return InvalidArgument("format key '{}' is missing", name);
    return *value;
  }

  bool Exhausted() const {
    if (values_.IsList(ListKind::kTuple)) return next_ == values_.list()->items.size();
    return next_ == 1 || values_.IsDict() || values_.IsList();
  }

 private:
  const Value& values_;
  size_t next_ = 0;
};

Result<std::string> FormatOnePercent(std::string_view* text, PercentValues* values) {
  Result<Value> value = Value::None();
  bool named = false;
  if (text->starts_with('(')) {
    const size_t close = text->find(')');
    if (close == std::string_view::npos) return InvalidArgument("incomplete format key");
    value = values->Named(text->substr(1, close - 1));
    named = true;
    text->remove_prefix(close + 1);
  }
  QUIRE_ASSIGN_OR_RETURN(const Spec spec, ParsePercentSpec(text));
  if (spec.type == '%') return std::string("%");
  if (!named) value = values->Next();
  if (!value.ok()) return value.error();
  return ApplySpec(*value, spec);
}

// The value that a replacement field such as "0.name[key]" means.
class BraceValues {
 public:
  explicit BraceValues(const Arguments& arguments) : arguments_(arguments) {}

  Result<Value> Find(std::string_view field) {
    const size_t end = std::min(field.find_first_of(".["), field.size());
    QUIRE_ASSIGN_OR_RETURN(Value value, First(field.substr(0, end)));
    if (end == field.size()) return value;
    return Walk(std::move(value), field.substr(end));
  }

 private:
  Result<Value> First(std::string_view name) {
    if (!name.empty() && (name[0] < '0' || name[0] > '9')) {
      const Value* named = arguments_.FindNamed(name);
      if (named == nullptr) return InvalidArgument("format has no value for '{}'", name);
      return *named;
    }
    size_t index = next_;
    if (name.empty()) {
      ++next_;
    } else {
      QUIRE_ASSIGN_OR_RETURN(const int number, ParseNumber(&name));
      index = static_cast<size_t>(number);
    }
    if (index >= arguments_.positional.size()) return InvalidArgument("format index {} is out of range", index);
    return arguments_.positional[index];
  }

  static Result<Value> Walk(Value value, std::string_view path) {
    while (!path.empty()) {
      const bool item = path[0] == '[';
      const size_t end = std::min(item ? path.find(']') : path.find_first_of(".[", 1), path.size());
      const std::string_view key = path.substr(1, end - 1);
      const Value* found = value.IsDict() && item ? value.dict().Find(key) : nullptr;
      if (found == nullptr) return InvalidArgument("format finds no '{}'", key);
      value = Value(*found);
      path.remove_prefix(std::min(path.size(), end + (item ? 1 : 0)));
    }
    return value;
  }

  const Arguments& arguments_;
  size_t next_ = 0;
};

// "name!r:spec" between braces.
Result<std::string> FormatField(std::string_view field, BraceValues* values) {
  const size_t colon = std::min(field.find(':'), field.size());
  const std::string_view spec_text = colon < field.size() ? field.substr(colon + 1) : std::string_view();
  std::string_view name = field.substr(0, colon);
  char conversion = 0;
  if (name.size() >= 2 && name[name.size() - 2] == '!') {
    conversion = name.back();
    name.remove_suffix(2);
  }
  QUIRE_ASSIGN_OR_RETURN(Value value, values->Find(name));
  if (conversion == 'r') value = Value(Repr(value));
  if (conversion == 's') value = Value(Str(value));
  QUIRE_ASSIGN_OR_RETURN(const Spec spec, ParseBraceSpec(spec_text));
  return ApplySpec(value, spec);
}

Status CheckLength(const std::string& text) {
  if (text.size() > kMaxWeight) return InvalidArgument("a formatted string is too long");
  return {};
}

}  // namespace

Result<Value> FormatPercent(const Value& format, const Value& values) {
  PercentValues source(values);
  std::string out;
  std::string_view rest = format.text();
  while (!rest.empty()) {
    const size_t percent = std::min(rest.find('%'), rest.size());
    out.append(rest.substr(0, percent));
    rest.remove_prefix(percent);
    if (rest.empty()) break;
    rest.remove_prefix(1);
    QUIRE_ASSIGN_OR_RETURN(const std::string text, FormatOnePercent(&rest, &source));
    out += format.markup() ? EscapeHtml(text) : text;
    QUIRE_RETURN_IF_ERROR(CheckLength(out));
  }
  if (!source.Exhausted()) return InvalidArgument("not all arguments converted during string formatting");
  return Value(std::move(out), format.markup());
}

Result<Value> FormatBraces(const Value& format, const Arguments& arguments) {
  BraceValues values(arguments);
  std::string out;
  std::string_view rest = format.text();
  while (!rest.empty()) {
    const size_t brace = std::min(rest.find_first_of("{}"), rest.size());
    out.append(rest.substr(0, brace));
    rest.remove_prefix(brace);
    if (rest.empty()) break;
    const char c = rest[0];
    if (rest.size() > 1 && rest[1] == c) {
      out += c;
      rest.remove_prefix(2);
      continue;
    }
    const size_t close = rest.find('}');
    if (c == '}' || close == std::string_view::npos) return InvalidArgument("unmatched '{}' in format string", c);
    QUIRE_ASSIGN_OR_RETURN(const std::string text, FormatField(rest.substr(1, close - 1), &values));
    out += format.markup() ? EscapeHtml(text) : text;
    rest.remove_prefix(close + 1);
    QUIRE_RETURN_IF_ERROR(CheckLength(out));
  }
  return Value(std::move(out), format.markup());
}

}  // namespace quire::jinja
