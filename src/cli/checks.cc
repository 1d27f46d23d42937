#include "cli/checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "cli/whole_number.h"

namespace quire {
namespace {

// Whether any number may be given that the option's type holds.
bool IsOpen(int64_t most) { return most >= std::numeric_limits<int32_t>::max(); }

std::string RangeOf(int64_t least, int64_t most) {
  return IsOpen(most) ? fmt::format("from {}", least) : fmt::format("from {} to {}", least, most);
}

// Writes the number out; a message if it is none, or out of range.
std::string ReadWholeNumber(int64_t least, int64_t most, std::string& text) {
  const Result<int64_t> number = ParseWholeNumber(text);
  if (!number.ok()) return number.error().message;
  if (*number < least || *number > most) {
    return fmt::format("{} is out of range: it must be {}", text,
                       *number > most ? fmt::format("at most {}", most) : RangeOf(least, most));
  }
  text = fmt::format("{}", *number);
  return {};
}

template <typename T>
std::optional<T> Parse(const std::string& text) {
  T value{};
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

CLI::Validator WholeNumber(int64_t least, int64_t most) {
  return CLI::Validator([=](std::string& text) { return ReadWholeNumber(least, most, text); }, "");
}

CLI::Validator WholeNumberOrAuto(int64_t least, int64_t most) {
  return CLI::Validator(
      [=](std::string& text) {
        if (text == "-1" || text == "Auto" || text == "AUTO") text = kAuto;
        return text == kAuto ? std::string() : ReadWholeNumber(least, most, text);
      },
      "");
}

CLI::Validator Number() {
  const double most = std::numeric_limits<float>::max();
  return Number(-most, most);
}

CLI::Validator Number(double least, double most) {
  const auto check = [=](const std::string& text) -> std::string {
    const std::optional<double> number = Parse<double>(text);
    if (!number) return fmt::format("\"{}\" is not a number", text);
    if (*number >= least && *number <= most) return {};
    if (most == std::numeric_limits<float>::max()) return fmt::format("{} is out of range", text);
    return fmt::format("{} is out of range: it must be from {} to {}", text, least, most);
  };
  return CLI::Validator(check, "");
}

CLI::Validator PositiveNumber() {
  const auto check = [](const std::string& text) -> std::string {
    const std::optional<double> number = Parse<double>(text);
    return number && *number > 0 ? "" : fmt::format("\"{}\" is not a number above 0", text);
  };
  return CLI::Validator(check, "");
}

CLI::Validator Seed() {
  const auto check = [](const std::string& text) -> std::string {
    return Parse<uint64_t>(text) ? "" : fmt::format("\"{}\" is not a whole number from 0 to 2^64 - 1", text);
  };
  return CLI::Validator(check, "");
}

CLI::Validator OneOf(std::vector<std::string> names) {
  const std::string list = fmt::format("{}", fmt::join(names, ", "));
  const auto check = [names = std::move(names), list](const std::string& text) -> std::string {
    if (std::ranges::find(names, text) != names.end()) return {};
    return fmt::format("\"{}\" is not known: use one of {}", text, list);
  };
  return CLI::Validator(check, list);
}

}  // namespace quire
