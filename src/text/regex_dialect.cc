#include "text/regex_dialect.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/error.h"

namespace quire::text {
namespace {

// White_Space. PCRE2's \s adds U+180E.
constexpr std::string_view kSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027})"
    R"(\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
// Alphabetic, M, Nd, Pc and Latin-1's superscripts and fractions. PCRE2's \w lacks the marks and has every N.
constexpr std::string_view kWord =
    R"(\p{L}\p{M}\p{Nl}\p{Nd}\p{Pc}\x{b2}\x{b3}\x{b9}\x{bc}-\x{be}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";
constexpr std::string_view kHexDigit = "0-9a-fA-F";

bool Compiles(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP,
                                   &error, &offset, nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  Result<std::string> Run() {
    while (at_ < pattern_.size()) QUIRE_RETURN_IF_ERROR(Step());
    return std::move(out_);
  }

 private:
  Status Step() {
    if (pattern_[at_] == '\\') return Escape();
    if (class_depth_ > 0) return InClass();
    if (pattern_[at_] == '[') {
      OpenClass();
    } else if (StartsWith("(?")) {
      Group();
    } else {
      Copy(1);
    }
    return {};
  }

  bool StartsWith(std::string_view prefix) const { return pattern_.substr(at_).starts_with(prefix); }

  void Copy(size_t count) {
    out_.append(pattern_.substr(at_, count));
    at_ = std::min(at_ + count, pattern_.size());
  }

  void Emit(std::string_view text, size_t consumed) {
    out_.append(text);
    at_ += consumed;
  }

  void OpenClass() {
    class_depth_ = 1;
    Copy(1);
    if (StartsWith("^")) Copy(1);
    if (StartsWith("]")) Emit("\\]", 1);
  }

  // Ruby's m lets the dot match a line feed, which is PCRE2's s.
  void Group() {
    Copy(2);
    while (at_ < pattern_.size() && std::string_view("imx-").find(pattern_[at_]) != std::string_view::npos) {
      if (pattern_[at_] == 'm') {
        Emit("s", 1);
      } else {
        Copy(1);
      }
    }
  }

  Status InClass() {
    if (StartsWith("&&")) return Unimplemented("regex \"{}\": intersection (&&) of classes", pattern_);
    if (StartsWith("[:space:]")) {
      Emit(kSpace, std::string_view("[:space:]").size());
      return {};
    }
    if (StartsWith("[:")) {
      const size_t end = pattern_.find(":]", at_);
      if (end != std::string_view::npos) {
        Copy(end + 2 - at_);
        return {};
      }
    }
    if (StartsWith("[^")) return Unimplemented("regex \"{}\": a negated class inside of a class", pattern_);
    if (StartsWith("[")) {  // a union: its members join those of the outer class
      ++class_depth_;
      ++at_;
    } else if (StartsWith("]")) {
      Emit(--class_depth_ == 0 ? "]" : "", 1);
    } else {
      Copy(1);
    }
    return {};
  }

  Status Escape() {
    if (at_ + 1 >= pattern_.size()) {
      Copy(1);
      return {};
    }
    switch (pattern_[at_ + 1]) {
      case 's':
        return Class(kSpace, false);
      case 'S':
        return class_depth_ > 0 ? Class(kNotSpace, false) : Class(kSpace, true);
      case 'w':
        return Class(kWord, false);
      case 'W':
        return Class(kWord, true);
      case 'h':
        return Class(kHexDigit, false);
      case 'H':
        return Class(kHexDigit, true);
      case 'b':
        return WordBoundary(true);
      case 'B':
        return WordBoundary(false);
      case 'u':
        return CodeUnit();
      case 'p':
      case 'P':
        return Property();
      default:
        Copy(2);
        return {};
    }
  }

  Status Class(std::string_view members, bool negated) {
    if (class_depth_ == 0) {
      Emit(fmt::format("[{}{}]", negated ? "^" : "", members), 2);
    } else if (negated) {
      return Unimplemented("regex \"{}\": \\{} inside of a class", pattern_, pattern_[at_ + 1]);
    } else {
      Emit(members, 2);
    }
    return {};
  }

  Status WordBoundary(bool at_boundary) {
    if (class_depth_ > 0) {
      Copy(2);
    } else if (at_boundary) {
      Emit(fmt::format("(?:(?<=[{0}])(?![{0}])|(?<![{0}])(?=[{0}]))", kWord), 2);
    } else {
      Emit(fmt::format("(?:(?<=[{0}])(?=[{0}])|(?<![{0}])(?![{0}]))", kWord), 2);
    }
    return {};
  }

  Status CodeUnit() {
    constexpr size_t kDigits = 4;
    const std::string_view digits = pattern_.substr(at_ + 2, kDigits);
    if (digits.size() < kDigits || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos) {
      Copy(2);
    } else {
      Emit(fmt::format("\\x{{{}}}", digits), 2 + kDigits);
    }
    return {};
  }

  // A script's name alone means Script to Oniguruma, but Script_Extensions to PCRE2.
  Status Property() {
    const size_t close = pattern_.find('}', at_);
    if (at_ + 2 >= pattern_.size() || pattern_[at_ + 2] != '{' || close == std::string_view::npos) {
      Copy(2);
      return {};
    }
    std::string_view name = pattern_.substr(at_ + 3, close - at_ - 3);
    const bool negated = name.starts_with('^');
    if (negated) name.remove_prefix(1);
    const bool is_script = name.size() > 2 && Compiles(fmt::format("\\p{{sc:{}}}", name));
    Emit(fmt::format("\\{}{{{}{}{}}}", pattern_[at_ + 1], negated ? "^" : "", is_script ? "sc:" : "", name),
         close + 1 - at_);
    return {};
  }

  std::string_view pattern_;
  size_t at_ = 0;
  int class_depth_ = 0;
  std::string out_;
};

}  // namespace

Result<std::string> OnigurumaToPcre2(std::string_view pattern) { return Translator(pattern).Run(); }

}  // namespace quire::text
