#include "llm/value_text.h"

#include <fmt/ranges.h>

#include <algorithm>
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

// Whether any number may be given that the option's type holds.
bool IsOpen(int64_t most) { return most >= kMaxInt32; }

std::string RangeOf(int64_t least, int64_t most) {
  return IsOpen(most) ? fmt::format("from {}", least) : fmt::format("from {} to {}", least, most);
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

Result<int64_t> ReadWholeNumber(std::string_view text, int64_t least, int64_t most) {
  QUIRE_ASSIGN_OR_RETURN(const int64_t number, ParseWholeNumber(text));
  if (number >= least && number <= most) return number;
  return InvalidArgument("{} is out of range: it must be {}", text,
                         number > most ? fmt::format("at most {}", most) : RangeOf(least, most));
}

Result<double> ReadNumber(std::string_view text, double least, double most) {
  double number = 0;
  if (!Parse(text, number)) return InvalidArgument("\"{}\" is not a number", text);
  if (number >= least && number <= most) return number;
  if (most == std::numeric_limits<float>::max()) return InvalidArgument("{} is out of range", text);
  return InvalidArgument("{} is out of range: it must be from {} to {}", text, least, most);
}

Result<uint64_t> ReadSeed(std::string_view text) {
  uint64_t seed = 0;
  if (Parse(text, seed)) return seed;
  return InvalidArgument("\"{}\" is not a whole number from 0 to 2^64 - 1", text);
}

Result<size_t> ReadName(std::string_view text, std::span<const std::string_view> names) {
  const auto found = std::ranges::find(names, text);
  if (found != names.end()) return static_cast<size_t>(found - names.begin());
  return InvalidArgument("\"{}\" is not known: use one of {}", text, fmt::join(names, ", "));
}

}  // namespace quire
