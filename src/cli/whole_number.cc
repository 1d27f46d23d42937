#include "cli/whole_number.h"

#include <charconv>
#include <cmath>

#include "base/error.h"

namespace quire {
namespace {

// 0: no suffix.
double FactorOf(char suffix) {
  constexpr std::string_view kDecimal = "kmgt", kBinary = "KMGT";
  if (const size_t at = kDecimal.find(suffix); at != std::string_view::npos) {
    return std::pow(1000, static_cast<double>(at + 1));
  }
  if (const size_t at = kBinary.find(suffix); at != std::string_view::npos) {
    return std::pow(1024, static_cast<double>(at + 1));
  }
  return 0;
}

template <typename T>
bool Parse(std::string_view text, T& value) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size();
}

}  // namespace

Result<int64_t> ParseWholeNumber(std::string_view text) {
  int64_t whole = 0;
  if (Parse(text, whole)) return whole;
  const Error error = InvalidArgument("\"{}\" is not a whole number, such as 8192, 8K (8192) or 8k (8000)", text);
  const double factor = text.size() < 2 ? 0 : FactorOf(text.back());
  const std::string_view digits = text.substr(0, text.empty() ? 0 : text.size() - 1);
  double number = 0;
  if (factor == 0 || digits.find_first_not_of("0123456789.") != std::string_view::npos || !Parse(digits, number)) {
    return error;
  }
  const bool is_binary = text.back() < 'a';
  if (is_binary && digits.find('.') != std::string_view::npos) {
    return InvalidArgument("\"{}\" is not a whole number: a fraction needs a decimal suffix, such as {}{}", text,
                           digits, static_cast<char>(text.back() - 'A' + 'a'));
  }
  if (number * factor >= 0x1p63) return error;
  return static_cast<int64_t>(number * factor);
}

}  // namespace quire
