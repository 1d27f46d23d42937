#include "base/strict_json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>

namespace quire {
namespace {

constexpr std::string_view kReplacement = "\\ufffd";

bool IsNumberCharacter(char c) {
  return (c >= '0' && c <= '9') || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-';
}

// The code unit of an escape \uXXXX at the beginning of the text, or -1.
int CodeUnit(std::string_view text) {
  if (text.size() < 6 || !text.starts_with("\\u")) return -1;
  int unit = 0;
  const auto [end, error] = std::from_chars(text.data() + 2, text.data() + 6, unit, 16);
  return error == std::errc() && end == text.data() + 6 ? unit : -1;
}
bool IsHigh(int unit) { return unit >= 0xD800 && unit < 0xDC00; }
bool IsLow(int unit) { return unit >= 0xDC00 && unit < 0xE000; }

class Rewriter {
 public:
  explicit Rewriter(std::string_view text) : left_(text) { out_.reserve(text.size() + 64); }

  std::string Run() {
    while (!left_.empty()) {
      if (left_.front() == '"')
        String();
      else if (!Word() && !Number())
        Copy(1);
    }
    return std::move(out_);
  }

 private:
  void Copy(size_t count) {
    out_ += left_.substr(0, count);
    left_.remove_prefix(std::min(count, left_.size()));
  }

  void String() {
    Copy(1);
    while (!left_.empty() && left_.front() != '"') {
      if (left_.front() == '\\')
        Escape();
      else
        Copy(std::min(left_.find_first_of("\"\\"), left_.size()));
    }
    Copy(1);
  }

  void Escape() {
    const int unit = CodeUnit(left_);
    if (IsHigh(unit) && IsLow(CodeUnit(left_.substr(6)))) {
      Copy(12);
    } else if (IsHigh(unit) || IsLow(unit)) {
      out_ += kReplacement;
      left_.remove_prefix(6);
    } else {
      Copy(2);
    }
  }

  bool Word() {
    static constexpr std::array<std::string_view, 3> kWords = {"NaN", "Infinity", "-Infinity"};
    const auto* const word =
        std::find_if(kWords.begin(), kWords.end(), [&](std::string_view w) { return left_.starts_with(w); });
    if (word == kWords.end()) return false;
    Quote(word->size());
    return true;
  }

  void Quote(size_t count) {
    out_ += '"';
    Copy(count);
    out_ += '"';
  }

  bool Number() {
    const auto* const end = std::find_if_not(left_.begin(), left_.end(), IsNumberCharacter);
    const auto size = static_cast<size_t>(end - left_.begin());
    if (size == 0) return false;
    const std::string number(left_.substr(0, size));
    char* parsed = nullptr;
    const double value = std::strtod(number.c_str(), &parsed);
    const bool whole = parsed == number.c_str() + size;
    if (whole && (value > kMax || value < -kMax)) {
      Quote(size);
      return true;
    }
    Copy(size);
    if (whole && number.find_first_of(".eE") == std::string::npos && !FitsInteger(number)) out_ += ".0";
    return true;
  }

  static bool FitsInteger(const std::string& number) {
    const char *begin = number.data(), *end = begin + number.size();
    int64_t with_sign = 0;
    uint64_t without = 0;
    return std::from_chars(begin, end, with_sign).ec == std::errc() ||
           std::from_chars(begin, end, without).ec == std::errc();
  }

  static constexpr double kMax = 1.7976931348623157e308;

  std::string_view left_;
  std::string out_;
};

}  // namespace

std::string StrictJson(std::string_view text) { return Rewriter(text).Run(); }

}  // namespace quire
