#include "text/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include "base/error.h"
#include "text/jinja_unicode.h"

namespace quire::jinja {
namespace {

// "\r\n" and "\r" become "\n", and one newline at the end goes.
std::string NormalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    const bool pair = source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n';
    if (!pair) out.push_back(source[i] == '\r' ? '\n' : source[i]);
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool IsNamePart(char c) { return IsNameStart(c) || IsDigit(c); }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(NormalizeNewlines(source)), rest_(source_) {}

  Result<std::vector<Token>> Run() {
    while (!rest_.empty()) QUIRE_RETURN_IF_ERROR(LexTemplateText());
    Push(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  void Push(TokenKind kind, std::string_view text) {
    tokens_.push_back(Token{.kind = kind, .line = line_, .text = std::string(text)});
  }

  Error Fail(std::string_view what) const { return InvalidArgument("chat template, line {}: {}", line_, what); }

  void Consume(size_t size) {
    if (size == 0) return;
    line_ += static_cast<int>(std::count(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(size), '\n'));
    at_line_start_ = rest_[size - 1] == '\n';
    rest_.remove_prefix(size);
  }

  void ConsumeSpace() { Consume(rest_.size() - StripLeft(rest_).size()); }

  // Text up to the next tag, then that tag.
  Status LexTemplateText() {
    const size_t begin = FindTag();
    if (begin == std::string_view::npos) {
      Push(TokenKind::kData, rest_);
      Consume(rest_.size());
      return {};
    }
    const char type = rest_[begin + 1];
    const char sign = PushData(begin, type != '{');
    Consume(begin + 2 + (sign == 0 ? 0 : 1));
    if (type == '#') return LexComment();
    if (type == '{') return LexTag(TokenKind::kVariableBegin, TokenKind::kVariableEnd, "}}");
    if (ConsumeRawBegin()) return LexRaw();
    return LexTag(TokenKind::kBlockBegin, TokenKind::kBlockEnd, "%}");
  }

  size_t FindTag() const {
    for (size_t at = rest_.find('{'); at != std::string_view::npos; at = rest_.find('{', at + 1)) {
      if (at + 1 == rest_.size()) break;
      const char next = rest_[at + 1];
      if (next == '{' || next == '%' || next == '#') return at;
    }
    return std::string_view::npos;
  }

  // Pushes the text before the tag at `begin`, stripped as the tag's sign ('-', '+' or none: 0) and lstrip_blocks say.
  char PushData(size_t begin, bool strips_line) {
    std::string_view data = rest_.substr(0, begin);
    const char sign = begin + 2 < rest_.size() ? rest_[begin + 2] : '\0';
    if (sign == '-') {
      data = StripRight(data);
    } else if (sign != '+' && strips_line) {
      const size_t line_begin = data.rfind('\n') + 1;  // npos + 1 == 0
      if ((line_begin > 0 || at_line_start_) && StripLeft(data.substr(line_begin)).empty()) {
        data = data.substr(0, line_begin);
      }
    }
    if (!data.empty()) Push(TokenKind::kData, data);
    return sign == '-' || sign == '+' ? sign : '\0';
  }

  // The end of a comment, block or raw section at the start of the rest: "+%}", "-%}" with the white space after it, or
  // "%}" with one newline after it.
  bool ConsumeEnd(std::string_view mark) {
    const bool trims_newline = mark != "}}";
    if (rest_.starts_with('-') && rest_.substr(1).starts_with(mark)) {
      Consume(1 + mark.size());
      ConsumeSpace();
      return true;
    }
    if (trims_newline && rest_.starts_with('+') && rest_.substr(1).starts_with(mark)) {
      Consume(1 + mark.size());
      return true;
    }
    if (!rest_.starts_with(mark)) return false;
    const bool newline = trims_newline && rest_.substr(mark.size()).starts_with('\n');
    Consume(mark.size() + (newline ? 1 : 0));
    return true;
  }

  Status LexComment() {
    size_t end = rest_.find("#}");
    if (end == std::string_view::npos) return Fail("a comment is not closed by '#}'");
    if (end > 0 && (rest_[end - 1] == '-' || rest_[end - 1] == '+')) --end;
    Consume(end);
    ConsumeEnd("#}");
    return {};
  }

  // After "{%" and its sign.
  bool ConsumeRawBegin() {
    std::string_view rest = StripLeft(rest_);
    if (!rest.starts_with("raw")) return false;
    rest = StripLeft(rest.substr(3));
    const bool strips = rest.starts_with("-%}");
    if (!strips && !rest.starts_with("%}")) return false;
    Consume(rest_.size() - rest.size() + (strips ? 3 : 2));
    if (strips) ConsumeSpace();
    return true;
  }

  Status LexRaw() {
    for (size_t at = rest_.find("{%"); at != std::string_view::npos; at = rest_.find("{%", at + 1)) {
      std::string_view rest = rest_.substr(at + 2);
      if (rest.starts_with('-') || rest.starts_with('+')) rest.remove_prefix(1);
      rest = StripLeft(rest);
      if (!rest.starts_with("endraw")) continue;
      rest = StripLeft(rest.substr(6));
      if (!rest.starts_with("%}") && !rest.starts_with("-%}") && !rest.starts_with("+%}")) continue;
      PushData(at, true);
      Consume(rest_.size() - rest.size());
      ConsumeEnd("%}");
      return {};
    }
    return Fail("a raw block is not closed by '{% endraw %}'");
  }

  Status LexTag(TokenKind begin, TokenKind end, std::string_view mark) {
    Push(begin, "");
    brackets_.clear();
    for (;;) {
      ConsumeSpace();
      if (rest_.empty()) return Fail("the template ends inside a tag");
      const int line = line_;
      if (brackets_.empty() && ConsumeEnd(mark)) {
        Push(end, "");
        tokens_.back().line = line;
        return {};
      }
      QUIRE_RETURN_IF_ERROR(LexExpressionToken());
    }
  }

  Status LexExpressionToken() {
    const char c = rest_.front();
    if (IsDigit(c)) return LexNumber();
    if (IsNameStart(c)) return LexName();
    if (c == '"' || c == '\'') return LexString(c);
    return LexOperator();
  }

  Status LexName() {
    size_t size = 1;
    while (size < rest_.size() && IsNamePart(rest_[size])) ++size;
    Push(TokenKind::kName, rest_.substr(0, size));
    Consume(size);
    return {};
  }

  // Digits with single underscores between them, from `at` on.
  size_t DigitsEnd(size_t at) const {
    while (at < rest_.size() &&
           (IsDigit(rest_[at]) || (rest_[at] == '_' && at + 1 < rest_.size() && IsDigit(rest_[at + 1])))) {
      ++at;
    }
    return at;
  }

  Status LexNumber() {
    size_t end = DigitsEnd(0);
    const size_t integer_end = end;
    const bool after_dot = tokens_.back().kind == TokenKind::kOperator && tokens_.back().text == ".";
    if (!after_dot && end + 1 < rest_.size() && rest_[end] == '.' && IsDigit(rest_[end + 1])) end = DigitsEnd(end + 1);
    if (!after_dot && end < rest_.size() && (rest_[end] == 'e' || rest_[end] == 'E')) {
      const size_t sign = end + 1 < rest_.size() && (rest_[end + 1] == '+' || rest_[end + 1] == '-') ? 1 : 0;
      if (end + 1 + sign < rest_.size() && IsDigit(rest_[end + 1 + sign])) end = DigitsEnd(end + 1 + sign);
    }
    if (end == integer_end) return LexInteger(integer_end);
    std::string digits(rest_.substr(0, end));
    std::erase(digits, '_');
    Push(TokenKind::kFloat, digits);
    std::from_chars(digits.data(), digits.data() + digits.size(), tokens_.back().number);
    Consume(end);
    return {};
  }

  Status LexInteger(size_t end) {
    int base = 10;
    size_t begin = 0;
    if (rest_[0] == '0' && end == 1 && rest_.size() > 2) {
      const char type = static_cast<char>(rest_[1] | 0x20);
      base = type == 'x' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
      begin = base == 10 ? 0 : 2;
    }
    if (begin > 0) {
      end = begin;
      while (end < rest_.size() && (std::isxdigit(static_cast<unsigned char>(rest_[end])) || rest_[end] == '_')) ++end;
    }
    std::string digits(rest_.substr(begin, end - begin));
    std::erase(digits, '_');
    int64_t value = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (parsed.ec != std::errc{} || parsed.ptr != digits.data() + digits.size())
      return Fail("an integer is out of range");
    Push(TokenKind::kInteger, rest_.substr(0, end));
    tokens_.back().integer = value;
    Consume(end);
    return {};
  }

  Status LexString(char quote) {
    size_t end = 1;
    while (end < rest_.size() && rest_[end] != quote) end += rest_[end] == '\\' ? 2 : 1;
    if (end >= rest_.size()) return Fail("a string literal is not closed");
    QUIRE_ASSIGN_OR_RETURN(const std::string text, Unescape(rest_.substr(1, end - 1)));
    Push(TokenKind::kString, text);
    Consume(end + 1);
    return {};
  }

  Result<std::string> Unescape(std::string_view text) const {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\') {
        out.push_back(text[i]);
        continue;
      }
      QUIRE_ASSIGN_OR_RETURN(const size_t taken, UnescapeOne(text.substr(i + 1), &out));
      i += taken;
    }
    return out;
  }

  // What a backslash before `text` stands for; returns the bytes of `text` that it takes. Unknown ones stay as written.
  Result<size_t> UnescapeOne(std::string_view text, std::string* out) const {
    static constexpr std::string_view kNames = "\\'\"abfnrtv";
    static constexpr std::string_view kMeanings = "\\'\"\a\b\f\n\r\t\v";
    const char c = text.front();
    if (const size_t known = kNames.find(c); known != std::string_view::npos) {
      out->push_back(kMeanings[known]);
      return size_t{1};
    }
    if (c == '\n') return size_t{1};
    if (c >= '0' && c <= '7') return AppendNumeric(text, 0, std::min<size_t>(OctalDigits(text), 3), 8, out);
    if (c == 'x') return AppendNumeric(text, 1, 2, 16, out);
    if (c == 'u') return AppendNumeric(text, 1, 4, 16, out);
    if (c == 'U') return AppendNumeric(text, 1, 8, 16, out);
    if (c == 'N') return Fail("\\N{...} in a string literal is not supported");
    out->push_back('\\');
    return size_t{0};
  }

  static size_t OctalDigits(std::string_view text) { return std::min(text.find_first_not_of("01234567"), text.size()); }

  Result<size_t> AppendNumeric(std::string_view text, size_t skip, size_t digits, int base, std::string* out) const {
    uint32_t code_point = 0;
    const char* begin = text.data() + skip;
    if (text.size() < skip + digits) return Fail("a string literal has a broken escape");
    const auto parsed = std::from_chars(begin, begin + digits, code_point, base);
    if (parsed.ec != std::errc{} || parsed.ptr != begin + digits) return Fail("a string literal has a broken escape");
    if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point < 0xE000)) {
      return Fail("a string literal escapes what is no character");
    }
    AppendCodePoint(code_point, out);
    return skip + digits;
  }

  Status LexOperator() {
    static constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                                    "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                                    ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    const auto found = std::find_if(kOperators.begin(), kOperators.end(),
                                    [this](std::string_view candidate) { return rest_.starts_with(candidate); });
    if (found == kOperators.end()) return Fail(fmt::format("unexpected character '{}'", rest_.front()));
    QUIRE_RETURN_IF_ERROR(TrackBracket(found->front()));
    Push(TokenKind::kOperator, *found);
    Consume(found->size());
    return {};
  }

  // "}}" ends a tag only where no bracket is open.
  Status TrackBracket(char c) {
    if (c == '(') brackets_.push_back(')');
    if (c == '[') brackets_.push_back(']');
    if (c == '{') brackets_.push_back('}');
    if (c != ')' && c != ']' && c != '}') return {};
    if (brackets_.empty() || brackets_.back() != c) return Fail(fmt::format("unexpected '{}'", c));
    brackets_.pop_back();
    return {};
  }

  const std::string source_;
  std::string_view rest_;
  int line_ = 1;
  bool at_line_start_ = true;
  std::string brackets_;  // the closing brackets that are awaited
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> Tokenize(std::string_view source) {
  if (!IsValidUtf8(source)) return InvalidArgument("chat template: not valid UTF-8");
  return Lexer(source).Run();
}

}  // namespace quire::jinja
